{# The condition that a row of a raw table (as `raw`) is its newest version, as far as was ingested up to the night's
   instant. #}
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

{# Join to each row of a raw table (as `raw`) the day from which a newer version replaces it (`superseded_on`), as far
   as was ingested up to the night's instant. It is null for the newest version. #}
{% macro beside_newer_version(table) -%}
    left join (
        select source, old_delivery_id, old_line_no, min(known_at) as superseded_on
        from {{ source("lake", "superseded") }}
        where table_name = '{{ table }}' and ingested_at <= {{ known_as_of() }}
        group by source, old_delivery_id, old_line_no
    ) as newer
        on newer.source = raw.source and newer.old_delivery_id = raw.delivery_id and newer.old_line_no = raw.line_no
{%- endmacro %}

{# All versions of a raw table's rows, from its `base` model, that counted for at least a day. A version that became
   known on the same day as its newer version never counted. #}
{% macro versions_that_counted(table) -%}
    select raw.*, newer.superseded_on
    from {{ ref("base_" ~ table) }} as raw
    {{ beside_newer_version(table) }}
    where raw.ingested_at <= {{ known_as_of() }} and (newer.superseded_on is null or newer.superseded_on > raw.known_on)
{%- endmacro %}

{# The newest versions of a raw table's rows, from the lake. #}
{% macro newest_versions(table) -%}
    select raw.*
    from {{ source("lake", table) }} as raw
    where raw.ingested_at <= {{ known_as_of() }} and {{ is_newest_version(table) }}
{%- endmacro %}

{# The rows of a raw table of persons, one row per borrower. If a borrower is delivered again, the first row is kept. #}
{% macro first_known(table) -%}
    select *
    from (
        select
            *,
            row_number() over (
                partition by source, borrower_id order by known_at, event_on, delivery_id, line_no
            ) as place
        from {{ source("lake", table) }}
        where ingested_at <= {{ known_as_of() }}
    ) as placed
    where place = 1
{%- endmacro %}

{# Whether a state of knowledge of a loan (a row with `known_month`) sees an instalment or a version of a schedule: it
   has become visible and has not been withdrawn. In months after `known_month` the state also sees rows that become
   visible on time. #}
{% macro is_seen(row, state) -%}
    {%- set by = "greatest(" ~ state ~ ".known_month, " ~ row ~ ".month_on)" -%}
    {{ row }}.visible_month <= {{ by }} and ({{ row }}.gone_month is null or {{ row }}.gone_month > {{ by }})
{%- endmacro %}
