with source as (
    select * from {{ source('lake', 'schedules') }}
    where ingested_at <= {{ known_as_of() }}
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
    known_at
from source
