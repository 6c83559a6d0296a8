-- One row per row that the previous build did not have, with its loan and the day it refers to. Superseded rows are
-- listed too, with a null day, because a correction may remove a row from any month. `known_as_of` is not applied: a
-- night as of an instant builds everything, and reads no changed rows. The model is ephemeral, since in a full build it
-- has no rows.
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
