with source as (
    select raw.* from {{ ref('base_statements') }} as raw
    where ingested_at <= {{ known_as_of() }} and {{ is_newest_version('statements') }}
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
