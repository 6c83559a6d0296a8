{# The ratio as a double; null if the denominator is null or 0. It is cast because the two engines divide decimals
   differently. #}
{% macro ratio(numerator, denominator) -%}
    (cast({{ numerator }} as double) / nullif(cast({{ denominator }} as double), 0))
{%- endmacro %}

{# A number rounded for storage. Sums of doubles depend on the order of addition; rounding removes the difference. #}
{% macro stored(expression) -%}
    round(cast({{ expression }} as double), 9)
{%- endmacro %}

{# The expression, limited to the range from `low` to `high`. Null stays null; least() and greatest() would ignore it.
   #}
{% macro clip(expression, low, high) -%}
    (case when {{ expression }} < {{ low }} then {{ low }} when {{ expression }} > {{ high }} then {{ high }} else {{ expression }} end)
{%- endmacro %}

{# A window's value function that ignores nulls. The two engines write `ignore nulls` in different places. #}
{% macro ignoring_nulls(function, expression) -%}
    {{ return(adapter.dispatch("ignoring_nulls")(function, expression)) }}
{%- endmacro %}

{% macro default__ignoring_nulls(function, expression) -%}
    {{ function }}({{ expression }} ignore nulls)
{%- endmacro %}

{% macro spark__ignoring_nulls(function, expression) -%}
    {{ function }}({{ expression }}) ignore nulls
{%- endmacro %}
