{# A build works on the rows that changed since the build before: those of `lake_changed`, the files that the build
   before did not have. Everything else stays as it is. Python starts dbt: it lays out the changed files, and passes
   `--full-refresh` when the build before does not count. #}

{# The relation of a model as the build before left it; none when everything is built. #}
{% macro built_before(model) -%}
    {%- if execute and not flags.FULL_REFRESH -%}
        {%- set node = graph.nodes["model." ~ project_name ~ "." ~ model] -%}
        {{ return(adapter.get_relation(node.database, node.schema, node.alias)) }}
    {%- endif -%}
    {{ return(none) }}
{%- endmacro %}

{# Earlier than every month: the whole of a loan. #}
{% macro ever() -%}
    cast('1900-01-31' as date)
{%- endmacro %}

{# Later than every day. #}
{% macro never() -%}
    cast('9999-12-31' as date)
{%- endmacro %}

{# Deletes the rows that a model is about to rebuild. `to_rebuild` is the model that lists the loans: of each, the
   months from its `from_month` on are deleted, or, where a loan's rows depend on each other over all months, all of
   them (`whole`). Where a row's own month does not decide it, `condition` does, over the row and its loan's row in
   `to_rebuild`. #}
{% macro delete_for_rebuild(to_rebuild, whole=false, condition=none) -%}
    {#- Asked for here, and not only where it is used: dbt learns from it what must be built first. -#}
    {%- set loans = ref(to_rebuild) -%}
    {%- if built_before(model.name) is not none -%}
        delete from {{ this }}
        where exists (
            select 1
            from {{ loans }} as to_rebuild
            where to_rebuild.source = {{ this }}.source and to_rebuild.loan_id = {{ this }}.loan_id
                {%- if not whole %} and {{ condition or "month_on >= to_rebuild.from_month" }}{% endif %}
        )
    {%- endif -%}
{%- endmacro %}

{# The same for rows that every build computes. #}
{% macro delete_for_rebuild_where(condition) -%}
    {%- if built_before(model.name) is not none -%}
        delete from {{ this }} where {{ condition }}
    {%- endif -%}
{%- endmacro %}
