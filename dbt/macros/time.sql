{# The night's instant: rows that were ingested later are not read. #}
{% macro known_as_of() -%}
    cast('{{ var("known_as_of") }}' as timestamp)
{%- endmacro %}

{# The number of months from one month-end to another, in SQL that both engines read. #}
{% macro months_between(earlier, later) -%}
    ({{ month_index(later) }} - {{ month_index(earlier) }})
{%- endmacro %}

{# Months since year 0. The values of two month-ends differ by the number of months between them. #}
{% macro month_index(day) -%}
    (year({{ day }}) * 12 + month({{ day }}))
{%- endmacro %}

{% macro add_days(day, days) -%}
    {{ return(adapter.dispatch("add_days")(day, days)) }}
{%- endmacro %}

{% macro default__add_days(day, days) -%}
    cast({{ day }} + ({{ days }}) as date)
{%- endmacro %}

{% macro spark__add_days(day, days) -%}
    date_add({{ day }}, {{ days }})
{%- endmacro %}

{# The same day of the month, `months` months later; the last day of that month if it is too short. #}
{% macro add_months(day, months) -%}
    {{ return(adapter.dispatch("add_months")(day, months)) }}
{%- endmacro %}

{% macro default__add_months(day, months) -%}
    cast({{ day }} + to_months({{ months }}) as date)
{%- endmacro %}

{% macro spark__add_months(day, months) -%}
    add_months({{ day }}, {{ months }})
{%- endmacro %}

{% macro days_between(earlier, later) -%}
    {{ return(adapter.dispatch("days_between")(earlier, later)) }}
{%- endmacro %}

{% macro default__days_between(earlier, later) -%}
    ({{ later }} - {{ earlier }})
{%- endmacro %}

{% macro spark__days_between(earlier, later) -%}
    datediff({{ later }}, {{ earlier }})
{%- endmacro %}

{# The previous month-end. `month_on` is a month-end. #}
{% macro month_end_before(month_on) -%}
    {{ add_days(month_on, "-cast(day(" ~ month_on ~ ") as integer)") }}
{%- endmacro %}

{# The next month-end; below, the same month-end a year before. `month_on` is a month-end. #}
{% macro month_end_after(month_on) -%}
    last_day({{ add_days(month_on, "1") }})
{%- endmacro %}

{% macro year_before(month_on) -%}
    last_day(make_date(year({{ month_on }}) - 1, month({{ month_on }}), 1))
{%- endmacro %}

{# The last month-end on or before a day. #}
{% macro last_month_end(day) -%}
    (case when {{ day }} = last_day({{ day }}) then {{ day }} else {{ month_end_before(day) }} end)
{%- endmacro %}

{# The day on which a month is observed, which is the month-end plus the source's feature lag. A row that becomes known
   after it is late. #}
{% macro observed_on(month_on, source="source") -%}
    {{ add_days(month_on, by_source("feature_lag_days", source)) }}
{%- endmacro %}

{# The first month-end whose features may use an event of `event_on` that became known on `known_on`. #}
{% macro visible_month(event_on, known_on, source="source") -%}
    last_day(greatest({{ event_on }}, {{ add_days(known_on, "-(" ~ by_source("feature_lag_days", source) ~ ")") }}))
{%- endmacro %}

{# One row per month-end from `first` to `last`; for use in a select list. #}
{% macro each_month_end(first, last) -%}
    {{ return(adapter.dispatch("each_month_end")(first, last)) }}
{%- endmacro %}

{% macro default__each_month_end(first, last) -%}
    last_day(cast(unnest(generate_series(date_trunc('month', {{ first }}), {{ last }}, interval 1 month)) as date))
{%- endmacro %}

{% macro spark__each_month_end(first, last) -%}
    explode(transform(sequence(trunc({{ first }}, 'MM'), {{ last }}, interval 1 month), month -> last_day(month)))
{%- endmacro %}
