-- What became of an observation, once it is known; an observation that has not matured has no row here.
with outcomes as (
    select * from {{ ref('stg_taiwan_cards__outcomes') }}
)

select
    o.source,
    o.loan_id,
    o.observed_on as month_on,
    o.horizon_months,
    o.defaulted as label,
    case when m.loan_id is null then 'no_observation' when m.is_default then 'in_default' end as exclusion_reason,
    o.known_at
from outcomes as o
left join {{ ref('fct_loan_months') }} as m
    on o.source = m.source and o.loan_id = m.loan_id and o.observed_on = m.month_on
