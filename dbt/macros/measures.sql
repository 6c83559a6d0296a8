{# What a loan month says in comparison: shared by the two ways in which windows are made. They stand over rows with the
   month's own columns, `has_previous`, `previous_balance` and `previous_dpd`. #}

{# What a payment is measured against: the amount due, or, where a source gives none, the bill of the month before. #}
{% macro owed() -%}
    coalesce(
        due,
        case when has_previous and previous_balance > 0 then previous_balance when has_previous then 0 end
    )
{%- endmacro %}

{% macro rolled_up() -%}
    coalesce(has_previous and dpd_max > previous_dpd, false)
{%- endmacro %}

{% macro util() -%}
    {{ clip(ratio('balance', 'limit_amount'), 0, 1.5) }}
{%- endmacro %}

{% macro pay_ratio() -%}
    {{ clip(ratio('paid', 'owed'), 0, 3) }}
{%- endmacro %}
