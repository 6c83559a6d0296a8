with source as (
    select * from {{ source('lake', 'loan_events') }}
    where ingested_at <= {{ known_as_of() }}
)

select
    source,
    loan_id,
    occurred_on,
    kind,
    known_at
from source
