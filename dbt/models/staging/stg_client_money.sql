with source as (
    select * from {{ source('lake', 'client_money') }}
    where ingested_at <= {{ known_as_of() }}
)

select
    source,
    booking_id,
    booked_on,
    kind,
    loan_id,
    amount,
    currency,
    known_at
from source
