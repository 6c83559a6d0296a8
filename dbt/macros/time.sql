{# The instant up to which ingested rows are seen. #}
{% macro known_as_of() -%}
    cast('{{ var("known_as_of") }}' as timestamp)
{%- endmacro %}

{# Whole months from one month-end to another, in SQL that both engines read. #}
{% macro months_between(earlier, later) -%}
    ({{ month_index(later) }} - {{ month_index(earlier) }})
{%- endmacro %}

{# Months since year 0: two month-ends are k months apart where these differ by k. #}
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

{# The same day so many months later; where that month is too short, its last day. #}
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

{# The month-end before a month-end. #}
{% macro month_end_before(month_on) -%}
    {{ add_days(month_on, "-cast(day(" ~ month_on ~ ") as integer)") }}
{%- endmacro %}

{# The month-end after a month-end, and the same month-end a year before. #}
{% macro month_end_after(month_on) -%}
    last_day({{ add_days(month_on, "1") }})
{%- endmacro %}

{% macro year_before(month_on) -%}
    last_day(make_date(year({{ month_on }}) - 1, month({{ month_on }}), 1))
{%- endmacro %}

{# The last month-end that is not after a day. #}
{% macro last_month_end(day) -%}
    (case when {{ day }} = last_day({{ day }}) then {{ day }} else {{ month_end_before(day) }} end)
{%- endmacro %}

{# The day on which a month is observed: what became known later is late. #}
{% macro observed_on(month_on, source="source") -%}
    {{ add_days(month_on, by_source("feature_lag_days", source)) }}
{%- endmacro %}

{# The first month-end at which a feature may use what happened on one day and became known on another. #}
{% macro visible_month(event_on, known_on, source="source") -%}
    last_day(greatest({{ event_on }}, {{ add_days(known_on, "-(" ~ by_source("feature_lag_days", source) ~ ")") }}))
{%- endmacro %}

{# One row for each month-end from one to another; for use in a select list. #}
{% macro each_month_end(first, last) -%}
    {{ return(adapter.dispatch("each_month_end")(first, last)) }}
{%- endmacro %}

{% macro default__each_month_end(first, last) -%}
    last_day(cast(unnest(generate_series(date_trunc('month', {{ first }}), {{ last }}, interval 1 month)) as date))
{%- endmacro %}

{% macro spark__each_month_end(first, last) -%}
    explode(transform(sequence(trunc({{ first }}, 'MM'), {{ last }}, interval 1 month), month -> last_day(month)))
{%- endmacro %}
