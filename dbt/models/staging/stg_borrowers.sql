-- One row per borrower, in the version that was delivered first.
with accepted as (
    {{ first_known('borrowers') }}
)

select
    source,
    borrower_id,
    known_at as known_on
from accepted
