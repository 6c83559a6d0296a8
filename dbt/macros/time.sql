{# The instant up to which ingested rows are seen. #}
{% macro known_as_of() -%}
    cast('{{ var("known_as_of") }}' as timestamp)
{%- endmacro %}

{# Whole months from one month-end to another; both engines read it as it stands. #}
{% macro months_between(earlier, later) -%}
    ((year({{ later }}) - year({{ earlier }})) * 12 + month({{ later }}) - month({{ earlier }}))
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
