with source as (
    select raw.* from {{ source('lake', 'loan_events') }} as raw
    where ingested_at <= {{ known_as_of() }} and {{ is_newest_version('loan_events') }}
)

select
    source,
    loan_id,
    occurred_on,
    kind,
    known_at as known_on
from source
