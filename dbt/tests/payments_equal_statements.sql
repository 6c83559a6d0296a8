-- Every cent that statements report as paid is a payment, and no other: per source and month. A source that delivers
-- no payments of its own is left out.
{{ config(meta={'dagster': {'ref': {'name': 'fct_payments'}}}) }}

with by_statement as (
    select source, month_on, sum(paid) as paid from {{ ref('fct_loan_months') }} group by source, month_on
),

by_payment as (
    select source, paid_on as month_on, sum(amount) as paid from {{ ref('fct_payments') }} group by source, paid_on
)

select coalesce(s.source, p.source) as source, coalesce(s.month_on, p.month_on) as month_on, s.paid, p.paid as payments
from by_statement as s
full outer join by_payment as p on s.source = p.source and s.month_on = p.month_on
where coalesce(s.paid, 0) <> coalesce(p.paid, 0)
    and coalesce(s.source, p.source) in (select source from by_payment)
