-- Every change of terms has a schedule version that begins on its day and an earlier one; the loss of value is computed
-- from these two. If either is missing, no loss is computed and no default begins. This is a warning, because a version
-- may just be late.
{{ config(severity='warn', meta={'dagster': {'ref': {'name': 'stg_schedules'}}}) }}

select events.source, events.loan_id, events.occurred_on
from {{ ref('stg_loan_events') }} as events
left join {{ ref('stg_schedules') }} as schedules
    on events.source = schedules.source
    and events.loan_id = schedules.loan_id
    and events.occurred_on >= schedules.valid_from
    and schedules.superseded_on is null
where events.kind = 'restructured'
    and {{ by_source('arrears_basis', 'events.source', quote=true) }} = 'ledger'
group by events.source, events.loan_id, events.occurred_on
having count(case when schedules.valid_from = events.occurred_on then 1 end) = 0
    or count(case when schedules.valid_from < events.occurred_on then 1 end) = 0
