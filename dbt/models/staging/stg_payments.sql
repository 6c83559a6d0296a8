with source as (
    select * from {{ source('lake', 'payments') }}
    where ingested_at <= {{ known_as_of() }}
)

select
    source,
    payment_id,
    loan_id,
    paid_on,
    amount,
    currency,
    known_at
from source
