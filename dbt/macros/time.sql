{# The instant up to which ingested rows are seen. #}
{% macro known_as_of() -%}
    cast('{{ var("known_as_of") }}' as timestamp)
{%- endmacro %}

{# Whole months from one month-end to another; both engines read it as it stands. #}
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

{% macro days_between(earlier, later) -%}
    {{ return(adapter.dispatch("days_between")(earlier, later)) }}
{%- endmacro %}

{% macro default__days_between(earlier, later) -%}
    ({{ later }} - {{ earlier }})
{%- endmacro %}

{% macro spark__days_between(earlier, later) -%}
    datediff({{ later }}, {{ earlier }})
{%- endmacro %}
