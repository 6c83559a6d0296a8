with source as (
    select * from {{ source('taiwan_cards', 'borrowers') }}
    where ingested_at <= {{ known_as_of() }}
)

select
    source,
    borrower_id,
    known_at
from source
