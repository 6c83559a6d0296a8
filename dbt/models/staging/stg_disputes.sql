with source as (
    select * from {{ source('lake', 'disputes') }}
    where ingested_at <= {{ known_as_of() }}
)

select
    source,
    case_id,
    loan_id,
    opened_on,
    kind,
    known_at
from source
