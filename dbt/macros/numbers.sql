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
