-- Every cent that a loan's months report as paid is a payment, and no other: per source and month. A source that delivers
-- no payments of its own is left out. In a ledger, payments in suspense, and those after the last reported month, take
-- no part yet, and a payment before the opening counts in the loan's first month.
{{ config(meta={'dagster': {'ref': {'name': 'fct_payments'}}}) }}

with by_statement as (
    select source, month_on, sum(paid) as paid from {{ ref('fct_loan_months') }} group by source, month_on
),

ledgers as (
    select source, max(month_on) as reported_month
    from {{ ref('fct_loan_months') }}
    where arrears_basis = 'ledger'
    group by source
),

payments as (
    select
        p.source,
        last_day(case when g.source is null then p.paid_on else greatest(p.paid_on, l.opened_on) end) as month_on,
        p.amount
    from {{ ref('fct_payments') }} as p
    left join ledgers as g on p.source = g.source
    left join {{ ref('dim_loans') }} as l on p.source = l.source and p.loan_id = l.loan_id
    where g.source is null or not p.in_suspense and last_day(greatest(p.paid_on, l.opened_on)) <= g.reported_month
),

by_payment as (
    select source, month_on, sum(amount) as paid from payments group by source, month_on
)

select coalesce(s.source, p.source) as source, coalesce(s.month_on, p.month_on) as month_on, s.paid, p.paid as payments
from by_statement as s
full outer join by_payment as p on s.source = p.source and s.month_on = p.month_on
where coalesce(s.paid, 0) <> coalesce(p.paid, 0)
    and coalesce(s.source, p.source) in (select source from by_payment)
