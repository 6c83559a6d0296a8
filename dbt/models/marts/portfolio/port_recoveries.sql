-- What comes in by months since default, over all defaults that were followed so far: the curve by which open ones are
-- carried on. `open_exposure` is what was owed by those still open just before.
with flows as (
    select source, currency, age, sum(recovered_discounted) as recovered
    from {{ ref('port_workout_months') }}
    where age > 0 and exposure > 0
    group by source, currency, age
),

ages as (
    select distinct source, currency, age from flows
    union
    select distinct source, currency, age from {{ ref('port_workouts') }} where age > 0
),

at_risk as (
    select
        a.source,
        a.currency,
        a.age,
        sum(w.exposure) as open_exposure,
        sum(case when w.age = a.age and w.state in ('cured', 'repaid') then w.exposure else 0 end) as ended_exposure,
        count(*) as open_loans
    from ages as a
    inner join {{ ref('port_workouts') }} as w
        on a.source = w.source and a.currency = w.currency and w.age >= a.age
    group by a.source, a.currency, a.age
)

select
    r.source,
    r.currency,
    r.age,
    cast(r.open_loans as integer) as open_loans,
    cast(r.open_exposure as decimal(18, 2)) as open_exposure,
    cast(r.ended_exposure as decimal(18, 2)) as ended_exposure,
    cast(coalesce(f.recovered, 0) as decimal(18, 6)) as recovered
from at_risk as r
left join flows as f on r.source = f.source and r.currency = f.currency and r.age = f.age
