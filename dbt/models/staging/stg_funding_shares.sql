with source as (
    select raw.* from {{ source('lake', 'funding_shares') }} as raw
    where ingested_at <= {{ known_as_of() }} and {{ is_newest_version('funding_shares') }}
)

select
    source,
    loan_id,
    partner,
    funded_on,
    share,
    known_at as known_on
from source
