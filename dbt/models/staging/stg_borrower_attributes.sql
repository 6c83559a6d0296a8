-- One row per borrower, in the version that was delivered first.
with accepted as (
    {{ first_known('borrower_attributes') }}
)

select
    source,
    borrower_id,
    sex,
    age,
    marriage,
    education,
    known_at as known_on
from accepted
