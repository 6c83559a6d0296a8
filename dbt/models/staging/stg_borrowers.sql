-- One row per borrower, as first known.
with accepted as (
    {{ first_known('borrowers') }}
)

select
    source,
    borrower_id,
    known_at as known_on
from accepted
