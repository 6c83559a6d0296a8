with source as (
    select * from {{ source('taiwan_cards', 'outcomes') }}
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
