-- What a change of terms loses is told by the version of the schedule that begins on its day, beside the one before it;
-- without either nothing is lost, and no default begins. A warning: a version may only be late.
{{ config(severity='warn', meta={'dagster': {'ref': {'name': 'stg_schedules'}}}) }}

select e.source, e.loan_id, e.occurred_on
from {{ ref('stg_loan_events') }} as e
left join {{ ref('stg_schedules') }} as s
    on e.source = s.source
    and e.loan_id = s.loan_id
    and e.occurred_on >= s.valid_from
    and s.superseded_on is null
where e.kind = 'restructured'
    and {{ by_source('arrears_basis', 'e.source', quote=true) }} = 'ledger'
group by e.source, e.loan_id, e.occurred_on
having count(case when s.valid_from = e.occurred_on then 1 end) = 0
    or count(case when s.valid_from < e.occurred_on then 1 end) = 0
