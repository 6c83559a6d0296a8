-- Every version that counted for a day: from its `known_on` until its `superseded_on`, which is null for the newest.
with source as (
    select raw.*, newer.superseded_on
    from {{ ref('base_statements') }} as raw
    {{ beside_newer_version('statements') }}
    where ingested_at <= {{ known_as_of() }} and (superseded_on is null or superseded_on > known_on)
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
    known_on,
    superseded_on
from source
