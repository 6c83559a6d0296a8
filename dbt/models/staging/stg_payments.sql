with source as (
    select raw.* from {{ ref('base_payments') }} as raw
    where ingested_at <= {{ known_as_of() }} and {{ is_newest_version('payments') }}
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
