{# The accepted rows of a raw table in the warehouse's own storage: a build appends those that the build before did not have.
   They are read by several models, and the lake has them in a file a delivery. No row changes, so none is removed; a lake
   that lost a file is built anew (`increment.py`). #}
{% macro accepted_rows(table, columns) -%}
    {{ config(materialized="incremental", incremental_strategy="append", on_schema_change="fail") }}
    {%- set every, new = source("lake", table), source("lake_changed", table) %}
select source, delivery_id, line_no, {{ columns | join(", ") }}, known_at as known_on, ingested_at
from {{ new if is_incremental() else every }}
{%- endmacro %}
