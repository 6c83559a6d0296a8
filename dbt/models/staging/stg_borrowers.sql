with source as (
    select * from {{ source('lake', 'borrowers') }}
    where ingested_at <= {{ known_as_of() }}
)

select
    source,
    borrower_id,
    known_at
from source
