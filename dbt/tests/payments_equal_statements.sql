-- Per source and month, the amount paid in the loan months equals the sum of the payments, to the cent. Sources without
-- payments are left out. Payments in suspense are left out for sources whose loan months contain only known loans. In a
-- ledger source, payments after the last reported month do not count yet, and a payment before the opening counts in
-- the first month.
{{ config(meta={'dagster': {'ref': {'name': 'fct_payments'}}}) }}

with by_statement as (
    select source, month_on, sum(paid) as paid from {{ ref('fct_loan_months') }} group by source, month_on
),

reported as (
    {{ last_months(ref('fct_loan_months')) }}
),

payments as (
    select
        payments.source,
        {{ by_source('arrears_basis', 'payments.source', quote=true) }} as arrears_basis,
        payments.paid_on,
        payments.amount,
        payments.in_suspense,
        loans.opened_on
    from {{ ref('fct_payments') }} as payments
    left join {{ ref('dim_loans') }} as loans on payments.source = loans.source and payments.loan_id = loans.loan_id
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
    select dated.source, dated.month_on, sum(dated.amount) as paid
    from dated
    left join reported on dated.source = reported.source
    where dated.arrears_basis <> 'ledger' or dated.month_on <= reported.last_month
    group by dated.source, dated.month_on
)

select
    coalesce(by_statement.source, by_payment.source) as source,
    coalesce(by_statement.month_on, by_payment.month_on) as month_on,
    by_statement.paid,
    by_payment.paid as payments
from by_statement
full outer join by_payment on by_statement.source = by_payment.source and by_statement.month_on = by_payment.month_on
where coalesce(by_statement.paid, 0) <> coalesce(by_payment.paid, 0)
    and coalesce(by_statement.source, by_payment.source) in (select source from payments)
