select
    source,
    loan_id,
    borrower_id,
    product,
    currency,
    opened_on,
    limit_amount,
    original_amount,
    annual_rate
from {{ ref('stg_loans') }}
