{# The policy's value of `name` for each source, as an expression over the column that holds the source. #}
{% macro by_source(name, column="source", quote=false, cast_to=none) -%}
    {%- set values = var(name, none) -%}
    {%- if values is none -%}
        {{ exceptions.raise_compiler_error("the policy value '" ~ name ~ "' is missing: run dbt as `creditloom dbt ...`") }}
    {%- endif -%}
    case {{ column }}
        {%- for source_name, value in values.items() %}
        {%- if value is not none %}
        when '{{ source_name }}' then {% if cast_to %}cast('{{ value }}' as {{ cast_to }}){% elif quote %}'{{ value }}'{% else %}{{ value }}{% endif %}
        {%- endif %}
        {%- endfor %}
        {%- if values.values() | reject("none") | list | length == 0 %}
        when '' then null
        {%- endif %}
    end
{%- endmacro %}

{# The policy's section of this name: a mapping, as the policy file has it. #}
{% macro policy_section(name) -%}
    {%- set values = var(name, none) -%}
    {%- if values is none -%}
        {{ exceptions.raise_compiler_error("the policy value '" ~ name ~ "' is missing: run dbt as `creditloom dbt ...`") }}
    {%- endif -%}
    {{ return(values) }}
{%- endmacro %}

{# What is a default by the day, and what cures it. #}
{% macro default_policy() -%}
    {{ return(policy_section("defaults")) }}
{%- endmacro %}
