{# The measures of a loan month that features are made of. The first ones are expressions over rows with the month's own
   columns, `has_previous`, `previous_balance` and `previous_dpd`. Those below `side_by_side` are expressions over rows
   with several months in columns. #}

{# The amount that a payment is compared with: the amount due, or, if the source gives none, the balance of the month
   before. #}
{% macro owed() -%}
    coalesce(
        due,
        case when has_previous and previous_balance > 0 then previous_balance when has_previous then 0 end
    )
{%- endmacro %}

{% macro rolled_up() -%}
    coalesce(has_previous and dpd_max > previous_dpd, false)
{%- endmacro %}

{# The used share of the limit, from 0 to 1.5. #}
{% macro util(balance="balance", limit_amount="limit_amount") -%}
    {{ clip(ratio(balance, limit_amount), 0, 1.5) }}
{%- endmacro %}

{# The measures in an observation's row, and the number of months that each one covers, including the observed month.
   Columns are named by age: `paid_3` is the amount paid three months before the observed month. #}
{% macro side_by_side() -%}
    {{ return({"dpd_max": 12, "rolled_up": 6, "paid": 12, "owed": 12, "util": 12, "status_code": 6}) }}
{%- endmacro %}

{# A window's expression; null if fewer than `months` months are known. #}
{% macro if_known(months, expression, row="summed") -%}
    case when {{ row }}.known_of_{{ months }} = {{ months }} then {{ expression }} end
{%- endmacro %}

{# The largest value of the last `months` months; unknown months are ignored. #}
{% macro largest(measure, months) -%}
    greatest({% for age in range(months) %}{{ measure }}_{{ age }}{{ ", " if not loop.last }}{% endfor %})
{%- endmacro %}

{# The number of the last `months` months in which a measure meets a condition. #}
{% macro how_many(measure, months, condition) -%}
    ({% for age in range(months) %}case when {{ measure }}_{{ age }} {{ condition }} then 1 else 0 end{{ " + " if not loop.last }}{% endfor %})
{%- endmacro %}

{# The number of months since a measure last met a condition; `never` if it did not within the last `months` months. #}
{% macro how_long_since(measure, months, condition, never) -%}
    case {% for age in range(months) %}when {{ measure }}_{{ age }} {{ condition }} then {{ age }} {% endfor %}else {{ never }} end
{%- endmacro %}

{# The sum over the last `months` months, added from the newest to the oldest; null if no month is known. #}
{% macro total(measure, months) -%}
    case
        when {{ how_many(measure, months, "is not null") }} > 0
            then {% for age in range(months) %}coalesce({{ measure }}_{{ age }}, 0){{ " + " if not loop.last }}{% endfor %}
    end
{%- endmacro %}

{% macro average(measure, months) -%}
    (({{ total(measure, months) }}) / {{ how_many(measure, months, "is not null") }})
{%- endmacro %}

{# The least-squares slope over the last `months` months, per month; null if fewer than two months are known. #}
{% macro slope(measure, months) -%}
    {%- set count = how_many(measure, months, "is not null") -%}
    {%- set x, xx, y, xy = [], [], [], [] -%}
    {%- for age in range(months) -%}
        {%- set if_measured = "case when " ~ measure ~ "_" ~ age ~ " is not null then " -%}
        {%- do x.append(if_measured ~ -age ~ " else 0 end") -%}
        {%- do xx.append(if_measured ~ age * age ~ " else 0 end") -%}
        {%- do y.append("coalesce(" ~ measure ~ "_" ~ age ~ ", 0)") -%}
        {%- do xy.append(-age ~ " * coalesce(" ~ measure ~ "_" ~ age ~ ", 0)") -%}
    {%- endfor -%}
    (
        ({{ count }} * ({{ xy | join(" + ") }}) - ({{ x | join(" + ") }}) * ({{ y | join(" + ") }}))
        / nullif({{ count }} * ({{ xx | join(" + ") }}) - ({{ x | join(" + ") }}) * ({{ x | join(" + ") }}), 0)
    )
{%- endmacro %}

{# The total paid in those of the last `months` months for which the owed amount is known. #}
{% macro paid_of_owed(months) -%}
    {% for age in range(months) %}case when owed_{{ age }} is not null then coalesce(paid_{{ age }}, 0) else 0 end{{ " + " if not loop.last }}{% endfor %}
{%- endmacro %}

{# The smallest monthly ratio of paid to owed in the last `months` months. #}
{% macro smallest_pay_ratio(months) -%}
    least({% for age in range(months) %}{{ ratio("paid_" ~ age, "owed_" ~ age) }}{{ ", " if not loop.last }}{% endfor %})
{%- endmacro %}

{# The number of newest months in a row in which everything owed was paid. A month with an unknown owed amount ends the
   streak; if that is the newest month, the streak is null. #}
{% macro full_pay_streak() -%}
    case
        when owed_0 is null then null
        {%- for age in range(12) %}
        when known_of_12 > {{ age }} and (paid_{{ age }} < owed_{{ age }} or owed_{{ age }} is null) then {{ age }}
        {%- endfor %}
        else known_of_12
    end
{%- endmacro %}
