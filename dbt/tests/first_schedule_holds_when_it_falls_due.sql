-- An instalment that is due before its version holds does not count. Later versions may repeat what an older one has;
-- of the first version every instalment should count. A warning: the first version may only be late.
{{ config(severity='warn', meta={'dagster': {'ref': {'name': 'stg_schedules'}}}) }}

with instalments as (
    select * from {{ ref('stg_schedules') }} where superseded_on is null
),

first_versions as (
    select source, loan_id, min(valid_from) as valid_from from instalments group by source, loan_id
)

select instalments.source, instalments.loan_id, instalments.valid_from, instalments.instalment_no, instalments.due_on
from instalments
inner join first_versions
    on instalments.source = first_versions.source
    and instalments.loan_id = first_versions.loan_id
    and instalments.valid_from = first_versions.valid_from
where not {{ takes_part('instalments') }}
