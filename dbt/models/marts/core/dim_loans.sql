select
    source,
    loan_id,
    borrower_id,
    product,
    currency,
    opened_on,
    limit_amount
from {{ ref('stg_loans') }}
