-- One row per row that the build before did not have: its loan, and the day that it is about. A row that was
-- superseded is one too; its day is null, because it is gone from whatever month it was in. `known_as_of` does not
-- matter here: a night as of an instant builds everything, and reads no changed rows. Ephemeral, since a full build
-- finds none.
{{ config(materialized='ephemeral') }}

select source, loan_id, opened_on as event_on, 'loans' as table_name from {{ source('lake_changed', 'loans') }}
union all
select source, loan_id, valid_from, 'schedules' from {{ source('lake_changed', 'schedules') }}
union all
select source, loan_id, paid_on, 'payments' from {{ source('lake_changed', 'payments') }}
union all
select source, loan_id, month_on, 'statements' from {{ source('lake_changed', 'statements') }}
union all
select source, loan_id, occurred_on, 'loan_events' from {{ source('lake_changed', 'loan_events') }}
{%- for table in ['loans', 'schedules', 'payments', 'statements', 'loan_events'] %}
union all
select old.source, old.loan_id, cast(null as date), '{{ table }}'
from {{ source('lake', table) if table in ['loans', 'loan_events'] else ref('base_' ~ table) }} as old
inner join {{ source('lake_changed', 'superseded') }} as newer
    on old.source = newer.source and old.delivery_id = newer.old_delivery_id and old.line_no = newer.old_line_no
where newer.table_name = '{{ table }}'
{%- endfor %}
