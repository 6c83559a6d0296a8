with source as (
    select * from {{ source('lake', 'funding_shares') }}
    where ingested_at <= {{ known_as_of() }}
)

select
    source,
    loan_id,
    partner,
    funded_on,
    share,
    known_at
from source
