-- Instalments of known loans of ledger sources in every version of their schedule, and the month from which a feature
-- may use each. `month_on` is the month in which the version begins to hold. What is not principal is served first;
-- where neither part is told all of it is principal.
select
    l.loan_no,
    i.valid_from,
    i.instalment_no,
    i.due_on,
    i.amount,
    cast(
        {{ clip("coalesce(i.principal, i.amount - i.interest, i.amount)", "0", "i.amount") }} as decimal(18, 2)
    ) as principal,
    i.principal is not null or i.interest is not null as is_told,
    last_day(greatest(i.valid_from, l.opened_on)) as month_on,
    {{ visible_month('greatest(i.valid_from, l.opened_on)', 'greatest(i.known_at, l.known_at)', 'l.source') }} as visible_month
from {{ ref('stg_schedules') }} as i
inner join {{ ref('int_ledger_loans') }} as l on i.source = l.source and i.loan_id = l.loan_id
