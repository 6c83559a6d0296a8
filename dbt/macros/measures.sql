{# The measures of a loan month that features are made of. They are expressions over rows with the month's own columns,
   `has_previous`, `previous_balance` and `previous_dpd`; further down, over rows with months side by side. #}

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

{# How much of the limit is used. #}
{% macro util(balance="balance", limit_amount="limit_amount") -%}
    {{ clip(ratio(balance, limit_amount), 0, 1.5) }}
{%- endmacro %}

{# The columns of an observation's row: each measure, and for how many months it has one, the observed month included.
   `paid_3` is the amount paid three months before it. #}
{% macro side_by_side() -%}
    {{ return({"dpd_max": 12, "rolled_up": 6, "paid": 12, "owed": 12, "util": 12, "status_code": 6}) }}
{%- endmacro %}

{# A window's expression where the row knows so many months; null where its history is shorter. #}
{% macro if_known(months, expression, row="summed") -%}
    case when {{ row }}.known_of_{{ months }} = {{ months }} then {{ expression }} end
{%- endmacro %}

{# The largest of the last months; months that are not known are passed over. #}
{% macro largest(measure, months) -%}
    greatest({% for age in range(months) %}{{ measure }}_{{ age }}{{ ", " if not loop.last }}{% endfor %})
{%- endmacro %}

{# In how many of the last months a measure meets a condition. #}
{% macro how_many(measure, months, condition) -%}
    ({% for age in range(months) %}case when {{ measure }}_{{ age }} {{ condition }} then 1 else 0 end{{ " + " if not loop.last }}{% endfor %})
{%- endmacro %}

{# How many months ago it met a condition for the last time. #}
{% macro how_long_since(measure, months, condition, never) -%}
    case {% for age in range(months) %}when {{ measure }}_{{ age }} {{ condition }} then {{ age }} {% endfor %}else {{ never }} end
{%- endmacro %}

{# The sum over the last months, in this order of addition; null where nothing is known. #}
{% macro total(measure, months) -%}
    case
        when {{ how_many(measure, months, "is not null") }} > 0
            then {% for age in range(months) %}coalesce({{ measure }}_{{ age }}, 0){{ " + " if not loop.last }}{% endfor %}
    end
{%- endmacro %}

{% macro average(measure, months) -%}
    (({{ total(measure, months) }}) / {{ how_many(measure, months, "is not null") }})
{%- endmacro %}

{# Least squares slope over the last months, per month; null for fewer than two. #}
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

{# What was paid in the last months of which it is known what was owed. #}
{% macro paid_of_owed(months) -%}
    {% for age in range(months) %}case when owed_{{ age }} is not null then coalesce(paid_{{ age }}, 0) else 0 end{{ " + " if not loop.last }}{% endfor %}
{%- endmacro %}

{# The smallest part that was paid in one of the last months of what was owed in it. #}
{% macro smallest_pay_ratio(months) -%}
    least({% for age in range(months) %}{{ ratio("paid_" ~ age, "owed_" ~ age) }}{{ ", " if not loop.last }}{% endfor %})
{%- endmacro %}

{# For how many months all that was owed was paid. A month of which it is not known what was owed ends the streak, and
   the newest one leaves it unknown. #}
{% macro full_pay_streak() -%}
    case
        when owed_0 is null then null
        {%- for age in range(12) %}
        when known_of_12 > {{ age }} and (paid_{{ age }} < owed_{{ age }} or owed_{{ age }} is null) then {{ age }}
        {%- endfor %}
        else known_of_12
    end
{%- endmacro %}
