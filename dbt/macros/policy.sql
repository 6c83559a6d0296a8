{# The policy's value of `name` for one source. #}
{% macro source_policy(name, source_name) -%}
    {%- if var(name, none) is none -%}
        {{ exceptions.raise_compiler_error("the policy value '" ~ name ~ "' is missing: run dbt as `creditloom dbt ...`") }}
    {%- endif -%}
    {{ var(name)[source_name] }}
{%- endmacro %}

{# The same as an expression over the column `source`. #}
{% macro source_policy_case(name) -%}
    case source
        {%- for source_name in var(name, {}) %}
        when '{{ source_name }}' then {{ source_policy(name, source_name) }}
        {%- endfor %}
    end
{%- endmacro %}
