-- All versions that counted for at least a day: from `known_on` until `superseded_on`, which is null for the newest.
with accepted as (
    {{ versions_that_counted('payments') }}
)

select
    source,
    payment_id,
    loan_id,
    paid_on,
    amount,
    currency,
    known_on,
    superseded_on
from accepted
