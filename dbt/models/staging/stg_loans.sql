with accepted as (
    {{ newest_versions('loans') }}
)

select
    source,
    loan_id,
    borrower_id,
    product,
    channel,
    currency,
    opened_on,
    limit_amount,
    original_amount,
    term_months,
    annual_rate,
    instalment,
    opening_balance,
    known_at as known_on
from accepted
