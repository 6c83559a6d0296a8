-- An instalment that is due before its version holds does not count. Later versions may repeat what an older one has;
-- of the first one nothing should be left out. A warning: the first version may only be late.
{{ config(severity='warn', meta={'dagster': {'ref': {'name': 'stg_schedules'}}}) }}

with instalments as (
    select *, min(valid_from) over (partition by source, loan_id) as begins_on
    from {{ ref('stg_schedules') }}
    where superseded_at is null
)

select source, loan_id, valid_from, instalment_no, due_on
from instalments
where valid_from = begins_on and due_on < valid_from
