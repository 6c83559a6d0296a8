-- What sources tell of known loans of ledger sources beside schedule and payments that matters to a default, and the
-- month from which it may be used. What is told of a day before the opening counts on the opening day.
select distinct
    l.loan_no,
    e.kind,
    greatest(e.occurred_on, l.opened_on) as occurred_on,
    greatest(e.known_on, l.known_on) as known_on,
    {{ visible_month('greatest(e.occurred_on, l.opened_on)', 'greatest(e.known_on, l.known_on)', 'l.source') }} as visible_month
from {{ ref('stg_loan_events') }} as e
inner join {{ ref('int_ledger_loans') }} as l on e.source = l.source and e.loan_id = l.loan_id
where e.kind in ('write_off', 'restructured')
