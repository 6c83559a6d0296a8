-- What known loans of ledger sources paid, day by day, and the month from which a feature may use it. What was paid
-- before the opening counts on the opening day; a loan that became known late hides what belongs to it until then.
select
    loan_no,
    paid_on,
    last_day(paid_on) as month_on,
    visible_month,
    cast(sum(amount) as decimal(18, 2)) as amount
from (
    select
        l.loan_no,
        greatest(p.paid_on, l.opened_on) as paid_on,
        {{ visible_month('greatest(p.paid_on, l.opened_on)', 'greatest(p.known_at, l.known_at)', 'l.source') }} as visible_month,
        p.amount
    from {{ ref('stg_payments') }} as p
    inner join {{ ref('int_ledger_loans') }} as l on p.source = l.source and p.loan_id = l.loan_id
) as paid
group by loan_no, paid_on, visible_month
