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

{# Beside each row of a raw table (as `raw`) the day from which a newer version of it counts (`superseded_on`), as far as
   was known by the night's instant; null for the newest. A row that has the day of its newer version never counted. #}
{% macro beside_newer_version(table) -%}
    left join (
        select source, old_delivery_id, old_line_no, min(known_at) as superseded_on
        from {{ source("lake", "superseded") }}
        where table_name = '{{ table }}' and ingested_at <= {{ known_as_of() }}
        group by source, old_delivery_id, old_line_no
    ) as newer
        on newer.source = raw.source and newer.old_delivery_id = raw.delivery_id and newer.old_line_no = raw.line_no
{%- endmacro %}

{# Whether a state of a loan's knowledge (with its `known_month`) sees an instalment, or a version of a schedule: what was
   visible by then and is not gone, and, of the months that the state goes on to tell, what is not late. #}
{% macro is_seen(row, state) -%}
    {{ row }}.visible_month <= greatest({{ state }}.known_month, {{ row }}.month_on)
        and ({{ row }}.gone_month is null or {{ row }}.gone_month > greatest({{ state }}.known_month, {{ row }}.month_on))
{%- endmacro %}
