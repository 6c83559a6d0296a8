-- Every version that counted for a day: from its `known_on` until its `superseded_on`, which is null for the newest.
with source as (
    select raw.*, newer.superseded_on
    from {{ ref('base_payments') }} as raw
    {{ beside_newer_version('payments') }}
    where ingested_at <= {{ known_as_of() }} and (superseded_on is null or superseded_on > known_on)
)

select
    source,
    payment_id,
    loan_id,
    paid_on,
    amount,
    currency,
    known_on,
    superseded_on
from source
