with accepted as (
    {{ newest_versions('loan_events') }}
)

select
    source,
    loan_id,
    occurred_on,
    kind,
    known_at as known_on
from accepted
