-- Every instalment of a loan's first schedule version falls due on or after the day the version begins; otherwise it
-- does not count. Later versions may repeat earlier instalments. This is a warning, because the first version may just
-- be late.
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
