with source as (
    select * from {{ source('taiwan_cards', 'loans') }}
    where ingested_at <= {{ known_as_of() }}
)

select
    source,
    loan_id,
    borrower_id,
    product,
    currency,
    opened_on,
    limit_amount,
    known_at
from source
