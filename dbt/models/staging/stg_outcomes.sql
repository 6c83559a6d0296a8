with source as (
    select raw.* from {{ source('lake', 'outcomes') }} as raw
    where ingested_at <= {{ known_as_of() }} and {{ is_newest_version('outcomes') }}
)

select
    source,
    loan_id,
    observed_on,
    horizon_months,
    defaulted,
    known_at as known_on
from source
