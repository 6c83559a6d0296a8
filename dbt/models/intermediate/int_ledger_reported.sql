-- The last month that each ledger source has reported: the last one whose day of observation the source's data reach.
select
    source,
    {{ last_month_end(add_days('max(known_on)', "-(" ~ by_source('feature_lag_days') ~ ")")) }} as reported_month
from (
    select source, max(known_on) as known_on from {{ ref('stg_loans') }} group by source
    union all
    select source, max(known_on) as known_on from {{ ref('stg_schedules') }} group by source
    union all
    select source, max(known_on) as known_on from {{ ref('stg_payments') }} group by source
) as last_reports
where {{ by_source('arrears_basis', quote=true) }} = 'ledger'
group by source
