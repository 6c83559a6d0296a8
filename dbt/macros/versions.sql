{# Whether no newer version of a row of a raw table (as `raw`) was known by the night's instant. #}
{% macro is_newest_version(table) -%}
    not exists (
        select 1
        from {{ source("lake", "superseded") }} as newer
        where newer.table_name = '{{ table }}'
            and newer.source = raw.source
            and newer.old_delivery_id = raw.delivery_id
            and newer.old_line_no = raw.line_no
            and newer.ingested_at <= {{ known_as_of() }}
    )
{%- endmacro %}
