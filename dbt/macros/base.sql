{# The accepted rows of a raw table for a model in the warehouse's own storage, to which a build appends the rows that
   the build before did not have. Several models read these rows, and the lake has one file per delivery. Accepted
   rows never change, so none is removed; where the lake has lost a file everything is rebuilt (`incremental_build.py`). The
   lake's `known_at` is a date, and becomes `known_on` here. #}
{% macro accepted_rows(table, columns) -%}
    {%- set all_rows, changed_rows = source("lake", table), source("lake_changed", table) %}
select source, delivery_id, line_no, {{ columns | join(", ") }}, known_at as known_on, ingested_at
from {{ changed_rows if is_incremental() else all_rows }}
{%- endmacro %}
