with source as (
    select raw.* from {{ ref('base_schedules') }} as raw
    where ingested_at <= {{ known_as_of() }} and {{ is_newest_version('schedules') }}
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
