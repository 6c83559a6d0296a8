{# Models that compute each loan independently run batch by batch. Memory then depends on the size of a batch instead of
   the size of the book. A batch that fits in memory is also faster than a whole book that does not. #}

{# Whether a row belongs to the current batch. `loan` is the column that identifies its loan: a number or a name.
   Outside a build in batches (in a unit test, or if the compiled query is run by hand) there is only one batch. The
   modulus is cast to the type of the hash; with any other type DuckDB would compute every row in 128 bits. #}
{% macro in_batch(loan) -%}
    {{ return(adapter.dispatch("in_batch")(loan)) }}
{%- endmacro %}

{% macro default__in_batch(loan) -%}
    hash({{ loan }}) % cast(coalesce(getvariable('batches'), 1) as ubigint)
        = cast(coalesce(getvariable('batch'), 0) as ubigint)
{%- endmacro %}

{% macro spark__in_batch(loan) -%}
    true
{%- endmacro %}

{# Materialization of a table that is written batch by batch, in one transaction. Keys of `meta`: `loans_of` names the
   model that lists the loans; its row count decides the number of batches. A model that needs little memory per loan has
   a `batch_size`, and its batches have so many times more loans, because each batch scans whole tables. If `grows` is
   true, a build adds rows to the existing table, after the model's pre-hook has deleted the rows to rebuild; with
   `--full-refresh` the table is replaced.

   The hash table of a join is always built from its right side, as the query is written. For `in_batch` the optimizer
   assumes one row in five, and after several joins two rows in all. It would then build the table from the long and
   wide side, which takes half of a batch's time. The setting is one of the whole database, and changes plans only. #}
{% materialization batches, adapter="duckdb", supported_languages=["sql"] %}
    {%- set target, existing = this.incorporate(type="table"), load_cached_relation(this) -%}
    {%- set meta = config.get("meta") -%}
    {%- set grows = meta.grows and existing is not none and not should_full_refresh() -%}
    {%- set loans = graph.nodes["model." ~ project_name ~ "." ~ meta.loans_of] -%}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}
    {%- if existing is not none and not grows %}{% do adapter.drop_relation(existing) %}{% endif -%}

    {%- set loans = adapter.get_relation(loans.database, loans.schema, loans.alias) -%}
    {%- set size = var("loans_per_batch") * meta.get("batch_size", 1) -%}
    {%- set query = "select 1 + count(*) // " ~ size ~ " from " ~ loans -%}
    {%- set count = run_query(query).columns[0].values()[0] | int -%}
    {%- do run_query("set disabled_optimizers = 'build_side_probe_side'") -%}
    {%- for batch in range(count) %}
        {%- do run_query("set variable batches = " ~ count ~ "; set variable batch = " ~ batch) -%}
        {%- if batch == 0 and not grows %}
            {%- call statement("main") %}{{ create_table_as(False, target, sql) }}{% endcall -%}
        {%- else %}
            {%- call statement("main") %}insert into {{ target }} by name {{ sql }}{% endcall -%}
        {%- endif -%}
    {%- endfor %}
    {%- do run_query("reset variable batches; reset variable batch; reset disabled_optimizers") -%}

    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {%- do persist_docs(target, model) -%}
    {%- do adapter.commit() -%}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({"relations": [target]}) }}
{% endmaterialization %}
