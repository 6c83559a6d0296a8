-- Whoever is delivered again is one row, as first known.
with source as (
    select
        *,
        row_number() over (partition by source, borrower_id order by known_at, event_on, delivery_id, line_no) as place
    from {{ source('lake', 'borrowers') }}
    where ingested_at <= {{ known_as_of() }}
)

select
    source,
    borrower_id,
    known_at as known_on
from source
where place = 1
