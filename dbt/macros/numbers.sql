{# a / b as a double, null where b is null or 0: decimals divide differently on the two engines. #}
{% macro ratio(numerator, denominator) -%}
    (cast({{ numerator }} as double) / nullif(cast({{ denominator }} as double), 0))
{%- endmacro %}

{# Sums of doubles depend on the order of addition; what is stored is rounded so that it does not. #}
{% macro stored(expression) -%}
    round(cast({{ expression }} as double), 9)
{%- endmacro %}

{# Null stays null: least() and greatest() would skip it. #}
{% macro clip(expression, low, high) -%}
    (case when {{ expression }} < {{ low }} then {{ low }} when {{ expression }} > {{ high }} then {{ high }} else {{ expression }} end)
{%- endmacro %}

{# A window's value function that passes over nulls: the engines write it in different places. #}
{% macro ignoring_nulls(function, expression) -%}
    {{ return(adapter.dispatch("ignoring_nulls")(function, expression)) }}
{%- endmacro %}

{% macro default__ignoring_nulls(function, expression) -%}
    {{ function }}({{ expression }} ignore nulls)
{%- endmacro %}

{% macro spark__ignoring_nulls(function, expression) -%}
    {{ function }}({{ expression }}) ignore nulls
{%- endmacro %}
