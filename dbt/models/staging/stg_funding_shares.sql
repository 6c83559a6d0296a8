with accepted as (
    {{ newest_versions('funding_shares') }}
)

select
    source,
    loan_id,
    partner,
    funded_on,
    share,
    known_at as known_on
from accepted
