with accepted as (
    {{ newest_versions('outcomes') }}
)

select
    source,
    loan_id,
    observed_on,
    horizon_months,
    defaulted,
    known_at as known_on
from accepted
