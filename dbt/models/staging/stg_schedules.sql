-- Every version that counted for a day: from its `known_on` until its `superseded_on`, which is null for the newest.
with source as (
    select raw.*, newer.superseded_on
    from {{ ref('base_schedules') }} as raw
    {{ beside_newer_version('schedules') }}
    where ingested_at <= {{ known_as_of() }} and (superseded_on is null or superseded_on > known_on)
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
    known_on,
    superseded_on
from source
