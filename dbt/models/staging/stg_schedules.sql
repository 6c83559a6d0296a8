-- Every version that counted for a day: from its `known_on` until its `superseded_on`, which is null for the newest.
with accepted as (
    {{ versions_that_counted('schedules') }}
)

select
    source,
    loan_id,
    valid_from,
    instalment_no,
    due_on,
    amount,
    principal,
    interest,
    known_on,
    superseded_on
from accepted
