-- All versions that counted for at least a day: from `known_on` until `superseded_on`, which is null for the newest.
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
