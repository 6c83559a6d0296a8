-- An instalment that is due before its version holds does not count. Later versions may repeat what an older one has;
-- of the first one nothing should be left out. A warning: the first version may only be late.
{{ config(severity='warn', meta={'dagster': {'ref': {'name': 'stg_schedules'}}}) }}

with instalments as (
    select * from {{ ref('stg_schedules') }} where superseded_on is null
),

first_versions as (
    select source, loan_id, min(valid_from) as valid_from from instalments group by source, loan_id
)

select i.source, i.loan_id, i.valid_from, i.instalment_no, i.due_on
from instalments as i
inner join first_versions as f on i.source = f.source and i.loan_id = f.loan_id and i.valid_from = f.valid_from
where i.due_on < i.valid_from
