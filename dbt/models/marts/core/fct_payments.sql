with payments as (
    select * from {{ ref('stg_payments') }} where superseded_on is null
)

select
    p.source,
    p.payment_id,
    p.loan_id,
    p.paid_on,
    p.amount,
    p.currency,
    p.known_on,
    l.loan_id is null as in_suspense
from payments as p
left join {{ ref('dim_loans') }} as l on p.source = l.source and p.loan_id = l.loan_id
