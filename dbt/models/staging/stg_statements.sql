-- Every version that counted for a day: from its `known_at` until its `superseded_at`, which is null for the newest.
with source as (
    select raw.*, newer.superseded_at
    from {{ ref('base_statements') }} as raw
    {{ beside_newer_version('statements') }}
    where ingested_at <= {{ known_as_of() }} and (superseded_at is null or superseded_at > known_at)
)

select
    source,
    loan_id,
    month_on,
    balance,
    limit_amount,
    due,
    paid,
    principal,
    status_code,
    known_at,
    superseded_at
from source
