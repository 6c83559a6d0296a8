-- Write-offs and changes of terms of ledger loans, and the month from which features may use each. An event before the
-- opening counts on the opening day.
select distinct
    loans.loan_no,
    events.kind,
    greatest(events.occurred_on, loans.opened_on) as occurred_on,
    greatest(events.known_on, loans.known_on) as known_on,
    {{ visible_month(
        'greatest(events.occurred_on, loans.opened_on)', 'greatest(events.known_on, loans.known_on)', 'loans.source'
    ) }} as visible_month
from {{ ref('stg_loan_events') }} as events
inner join {{ ref('int_ledger_loans') }} as loans on events.source = loans.source and events.loan_id = loans.loan_id
where events.kind in ('write_off', 'restructured')
