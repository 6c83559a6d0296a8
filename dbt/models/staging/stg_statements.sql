-- All versions that counted for at least a day: from `known_on` until `superseded_on`, which is null for the newest.
with accepted as (
    {{ versions_that_counted('statements') }}
)

select
    source,
    loan_id,
    month_on,
    balance,
    limit_amount,
    due,
    paid,
    principal,
    status_code,
    known_on,
    superseded_on
from accepted
