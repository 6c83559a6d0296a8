with source as (
    select raw.* from {{ source('lake', 'disputes') }} as raw
    where ingested_at <= {{ known_as_of() }} and {{ is_newest_version('disputes') }}
)

select
    source,
    case_id,
    loan_id,
    opened_on,
    kind,
    known_at as known_on
from source
