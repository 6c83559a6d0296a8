with source as (
    select * from {{ source('lake', 'outcomes') }}
    where ingested_at <= {{ known_as_of() }}
)

select
    source,
    loan_id,
    observed_on,
    horizon_months,
    defaulted,
    known_at
from source
