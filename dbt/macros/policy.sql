{# The policy's value of `name` for each source, as an expression over the column that contains the source's name; null
   if the policy has no value for the source. #}
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

{# The policy's section of this name, as a mapping like in the policy file. #}
{% macro policy_section(name) -%}
    {%- set values = var(name, none) -%}
    {%- if values is none -%}
        {{ exceptions.raise_compiler_error("the policy value '" ~ name ~ "' is missing: run dbt as `creditloom dbt ...`") }}
    {%- endif -%}
    {{ return(values) }}
{%- endmacro %}

{# The policy's section `defaults`: which days make a default, and what cures it. #}
{% macro default_policy() -%}
    {{ return(policy_section("defaults")) }}
{%- endmacro %}
