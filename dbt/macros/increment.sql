{# A build works on what is new since the build before (`lake_news`: the files that it did not have); what is old stays.
   Who starts dbt says with `--full-refresh` when the build before does not count, and lays out the news. #}

{# The relation that a model was built as before; none where all is to be built. #}
{% macro built_before(model) -%}
    {%- if execute and not flags.FULL_REFRESH -%}
        {%- set node = graph.nodes["model." ~ project_name ~ "." ~ model] -%}
        {{ return(adapter.get_relation(node.database, node.schema, node.alias)) }}
    {%- endif -%}
    {{ return(none) }}
{%- endmacro %}

{# Earlier than every month: all of a loan. #}
{% macro ever() -%}
    cast('1900-01-31' as date)
{%- endmacro %}

{# Later than every day. #}
{% macro never() -%}
    cast('9999-12-31' as date)
{%- endmacro %}

{# Before a model adds what it computes anew, what it has of it is removed: of each loan the months from which it is computed
   on, or, where its rows hang together over all months, all (`whole`). `held` says of a row and its loan's `from_month` (as
   `w`) whether the row is computed anew, where that is not its month alone. #}
{% macro forget(work, whole=false, held=none) -%}
    {#- Asked for here, and not only where it is used: dbt learns from it what must be built first. -#}
    {%- set loans = ref(work) -%}
    {%- if built_before(model.name) is not none -%}
        delete from {{ this }}
        where exists (
            select 1
            from {{ loans }} as w
            where w.source = {{ this }}.source and w.loan_id = {{ this }}.loan_id
                {%- if not whole %} and {{ held or "month_on >= w.from_month" }}{% endif %}
        )
    {%- endif -%}
{%- endmacro %}

{# The same of rows that are always computed anew. #}
{% macro forget_where(condition) -%}
    {%- if built_before(model.name) is not none -%}
        delete from {{ this }} where {{ condition }}
    {%- endif -%}
{%- endmacro %}
