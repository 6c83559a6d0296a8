{# Models that compute each loan by itself do so some loans at a time: what they hold in memory then depends on the size of
   a portion and not on that of the book, and a portion that fits in memory is faster than the whole that does not. #}

{# Whether a row belongs to the portion that is computed, by what tells its loan: its number, or its name. Outside of such
   a build (a unit test, a look at the compiled query) there is one portion. In the type of a hash, because another one
   has every row computed in 128 bits. #}
{% macro in_portion(loan) -%}
    {{ return(adapter.dispatch("in_portion")(loan)) }}
{%- endmacro %}

{% macro default__in_portion(loan) -%}
    hash({{ loan }}) % cast(coalesce(getvariable('portions'), 1) as ubigint)
        = cast(coalesce(getvariable('portion'), 0) as ubigint)
{%- endmacro %}

{% macro spark__in_portion(loan) -%}
    true
{%- endmacro %}

{# A table that is written portion by portion, in one transaction. Of `meta`: `loans_of` is the model that names the loans
   (its rows say how many portions there are); with `grows` a build adds to what stands there, after its pre-hook has
   removed what is computed anew, and with `--full-refresh` it begins anew. #}
{% materialization portions, adapter="duckdb", supported_languages=["sql"] %}
    {%- set target, existing = this.incorporate(type="table"), load_cached_relation(this) -%}
    {%- set meta = config.get("meta") -%}
    {%- set grows = meta.grows and existing is not none and not should_full_refresh() -%}
    {%- set loans = graph.nodes["model." ~ project_name ~ "." ~ meta.loans_of] -%}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}
    {%- if existing is not none and not grows %}{% do adapter.drop_relation(existing) %}{% endif -%}

    {%- set count = run_query(
        "select 1 + count(*) // " ~ var("loans_a_portion") ~ " from " ~ adapter.get_relation(loans.database, loans.schema, loans.alias)
    ).columns[0].values()[0] | int -%}
    {%- for portion in range(count) %}
        {%- do run_query("set variable portions = " ~ count ~ "; set variable portion = " ~ portion) -%}
        {%- if portion == 0 and not grows %}
            {%- call statement("main") %}{{ create_table_as(False, target, sql) }}{% endcall -%}
        {%- else %}
            {%- call statement("main") %}insert into {{ target }} by name {{ sql }}{% endcall -%}
        {%- endif -%}
    {%- endfor %}
    {%- do run_query("reset variable portions; reset variable portion") -%}

    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {%- do persist_docs(target, model) -%}
    {%- do adapter.commit() -%}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({"relations": [target]}) }}
{% endmaterialization %}
