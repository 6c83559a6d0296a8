with source as (
    select * from {{ source('lake', 'statements') }}
    where ingested_at <= {{ known_as_of() }}
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
    known_at
from source
