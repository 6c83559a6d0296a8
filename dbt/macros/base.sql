{# The accepted rows of a raw table, for a model that stores them in the warehouse. An incremental build appends only
   the rows of new files. The rows are copied because several models read them, and the lake has one file per delivery.
   Accepted rows never change, so no row is removed; if the lake has lost a file, everything is rebuilt
   (`incremental_build.py`). The lake's date `known_at` is called `known_on` here. #}
{% macro accepted_rows(table, columns) -%}
    {%- set all_rows, changed_rows = source("lake", table), source("lake_changed", table) %}
select source, delivery_id, line_no, {{ columns | join(", ") }}, known_at as known_on, ingested_at
from {{ changed_rows if is_incremental() else all_rows }}
{%- endmacro %}
