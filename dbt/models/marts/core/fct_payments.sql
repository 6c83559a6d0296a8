with payments as (
    select * from {{ ref('stg_payments') }} where superseded_on is null
),

loans as (
    select * from {{ ref('dim_loans') }}
)

select
    payments.source,
    payments.payment_id,
    payments.loan_id,
    payments.paid_on,
    payments.amount,
    payments.currency,
    payments.known_on,
    loans.loan_id is null as in_suspense
from payments
left join loans on payments.source = loans.source and payments.loan_id = loans.loan_id
