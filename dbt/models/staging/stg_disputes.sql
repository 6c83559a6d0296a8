with accepted as (
    {{ newest_versions('disputes') }}
)

select
    source,
    case_id,
    loan_id,
    opened_on,
    kind,
    known_at as known_on
from accepted
