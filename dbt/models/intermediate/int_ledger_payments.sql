-- What known loans of ledger sources paid, day by day, and the month from which a feature may use it. What was paid
-- before the opening counts on the opening day; a loan that became known late hides what belongs to it until then. A
-- version of a payment that was corrected is taken back once the newer one is known, so that it counts until then and no
-- longer. `payments`: how many there were, less those that are taken back; what comes to nothing is left out.
select
    loan_no,
    paid_on,
    last_day(paid_on) as month_on,
    visible_month,
    cast(sum(amount) as decimal(18, 2)) as amount,
    cast(sum(payments) as integer) as payments
from (
    select
        l.loan_no,
        greatest(p.paid_on, l.opened_on) as paid_on,
        {{ visible_month('greatest(p.paid_on, l.opened_on)', 'greatest(p.known_on, l.known_on)', 'l.source') }} as visible_month,
        p.amount,
        1 as payments
    from {{ ref('stg_payments') }} as p
    inner join {{ ref('int_ledger_loans') }} as l on p.source = l.source and p.loan_id = l.loan_id
    union all
    select
        l.loan_no,
        greatest(p.paid_on, l.opened_on),
        {{ visible_month('greatest(p.paid_on, l.opened_on)', 'greatest(p.superseded_on, l.known_on)', 'l.source') }},
        -p.amount,
        -1
    from {{ ref('stg_payments') }} as p
    inner join {{ ref('int_ledger_loans') }} as l on p.source = l.source and p.loan_id = l.loan_id
    where p.superseded_on is not null
) as paid
group by loan_no, paid_on, visible_month
having sum(amount) <> 0 or sum(payments) <> 0
