{# An incremental build processes only the rows of `lake_changed`: the files that the previous build did not have. All
   other rows stay as they are. Python, which starts dbt, prepares the changed files, and passes `--full-refresh` if the
   previous build cannot be built on. #}

{# The relation that the previous build made of a model; none in a full build. #}
{% macro built_before(model) -%}
    {%- if execute and not flags.FULL_REFRESH -%}
        {%- set node = graph.nodes["model." ~ project_name ~ "." ~ model] -%}
        {{ return(adapter.get_relation(node.database, node.schema, node.alias)) }}
    {%- endif -%}
    {{ return(none) }}
{%- endmacro %}

{# A month-end before all data: a rebuild from here covers a loan's whole life. #}
{% macro ever() -%}
    cast('1900-01-31' as date)
{%- endmacro %}

{# A day after all data. #}
{% macro never() -%}
    cast('9999-12-31' as date)
{%- endmacro %}

{# Delete the rows that a model is about to rebuild. `to_rebuild` is the model that lists the loans. For each loan, the
   months from its `from_month` on are deleted. With `whole`, all its months are deleted: for models in which a loan's
   rows depend on each other over all months. `condition` replaces the comparison of months; it may use columns of the
   row and of the loan's row in `to_rebuild`. #}
{% macro delete_for_rebuild(to_rebuild, whole=false, condition=none) -%}
    {#- Outside the `if`, so that dbt always sees the dependency and builds that model first. -#}
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

{# Delete the rows that every build recomputes, whichever loans have changed. #}
{% macro delete_for_rebuild_where(condition) -%}
    {%- if built_before(model.name) is not none -%}
        delete from {{ this }} where {{ condition }}
    {%- endif -%}
{%- endmacro %}
