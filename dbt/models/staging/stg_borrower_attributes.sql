with source as (
    select * from {{ source('lake', 'borrower_attributes') }}
    where ingested_at <= {{ known_as_of() }}
)

select
    source,
    borrower_id,
    sex,
    age,
    marriage,
    education,
    known_at
from source
