-- Every version that counted for a day: from its `known_at` until its `superseded_at`, which is null for the newest.
with source as (
    select raw.*, newer.superseded_at
    from {{ ref('base_schedules') }} as raw
    {{ beside_newer_version('schedules') }}
    where ingested_at <= {{ known_as_of() }} and (superseded_at is null or superseded_at > known_at)
)

select
    source,
    loan_id,
    valid_from,
    instalment_no,
    due_on,
    amount,
    principal,
    interest,
    known_at,
    superseded_at
from source
