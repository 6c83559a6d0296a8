-- Every cent that a loan's months report as paid is a payment, and no other: per source and month. A source that delivers
-- no payments of its own is left out. Payments in suspense take no part where months are told of known loans only. In a
-- ledger, those after the last reported month take no part yet, and one before the opening counts in the first month.
{{ config(meta={'dagster': {'ref': {'name': 'fct_payments'}}}) }}

with by_statement as (
    select source, month_on, sum(paid) as paid from {{ ref('fct_loan_months') }} group by source, month_on
),

reported as (
    select source, max(month_on) as reported_month from {{ ref('fct_loan_months') }} group by source
),

payments as (
    select
        p.source,
        {{ by_source('arrears_basis', 'p.source', quote=true) }} as arrears_basis,
        p.paid_on,
        p.amount,
        p.in_suspense,
        l.opened_on
    from {{ ref('fct_payments') }} as p
    left join {{ ref('dim_loans') }} as l on p.source = l.source and p.loan_id = l.loan_id
),

dated as (
    select
        source,
        arrears_basis,
        last_day(case when arrears_basis = 'ledger' then greatest(paid_on, opened_on) else paid_on end) as month_on,
        amount
    from payments
    where arrears_basis = 'status' or not in_suspense
),

by_payment as (
    select d.source, d.month_on, sum(d.amount) as paid
    from dated as d
    left join reported as r on d.source = r.source
    where d.arrears_basis <> 'ledger' or d.month_on <= r.reported_month
    group by d.source, d.month_on
)

select coalesce(s.source, p.source) as source, coalesce(s.month_on, p.month_on) as month_on, s.paid, p.paid as payments
from by_statement as s
full outer join by_payment as p on s.source = p.source and s.month_on = p.month_on
where coalesce(s.paid, 0) <> coalesce(p.paid, 0)
    and coalesce(s.source, p.source) in (select source from payments)
