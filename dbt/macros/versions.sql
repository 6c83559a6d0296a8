{# The condition that no newer version of a row of a raw table (as `raw`) was known by the night's instant. #}
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

{# Joins to each row of a raw table (as `raw`) the day from which a newer version of it counts (`superseded_on`), as
   far as was known by the night's instant; null for the newest. #}
{% macro beside_newer_version(table) -%}
    left join (
        select source, old_delivery_id, old_line_no, min(known_at) as superseded_on
        from {{ source("lake", "superseded") }}
        where table_name = '{{ table }}' and ingested_at <= {{ known_as_of() }}
        group by source, old_delivery_id, old_line_no
    ) as newer
        on newer.source = raw.source and newer.old_delivery_id = raw.delivery_id and newer.old_line_no = raw.line_no
{%- endmacro %}

{# The versions of a raw table's rows, from its `base` model, that counted for a day or longer: a row that became
   known on the day of its newer version never counted. #}
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

{# The rows of a raw table of persons, one row per borrower: a borrower who is delivered again keeps the first row. #}
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

{# Whether a state of a loan's knowledge (a row with `known_month`) sees an instalment or a version of a schedule: it
   was visible by then and is not gone. In the months after `known_month` the state also sees what becomes visible in
   time. #}
{% macro is_seen(row, state) -%}
    {%- set by = "greatest(" ~ state ~ ".known_month, " ~ row ~ ".month_on)" -%}
    {{ row }}.visible_month <= {{ by }} and ({{ row }}.gone_month is null or {{ row }}.gone_month > {{ by }})
{%- endmacro %}
