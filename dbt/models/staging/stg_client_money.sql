with accepted as (
    select raw.*
    from {{ ref('base_client_money') }} as raw
    where raw.ingested_at <= {{ known_as_of() }} and {{ is_newest_version('client_money') }}
)

select
    source,
    booking_id,
    booked_on,
    kind,
    loan_id,
    amount,
    currency,
    known_on
from accepted
