-- What comes in by months since default, as it was known at the two newest month-ends: the curve by which open workouts
-- are carried on. `open_exposure` is what was owed, when they began, by the defaults that were still open just before.
with newest as (
    select source, max(month_on) as last_month from {{ ref('fct_loan_months') }} group by source
),

as_of as (
    select source, last_month as as_of_on from newest
    union all
    select source, {{ month_end_before('last_month') }} from newest
),

known as (
    select a.as_of_on, w.*
    from {{ ref('port_workout_months') }} as w
    inner join as_of as a on w.source = a.source and w.month_on <= a.as_of_on
    where w.exposure > 0
),

workouts as (
    select
        as_of_on,
        source,
        currency,
        max(exposure) as exposure,
        max(case when is_end then 1 else 0 end) = 1 as has_ended,
        case
            when max(case when is_end then 1 else 0 end) = 1 then max(months_since_default)
            else least({{ months_between('defaulted_on', 'as_of_on') }}, {{ portfolio_policy().loss.workout_months }})
        end as months_since_default
    from known
    group by as_of_on, source, currency, loan_id, defaulted_on
),

flows as (
    select as_of_on, source, currency, months_since_default, sum(recovered_discounted) as recovered
    from known
    group by as_of_on, source, currency, months_since_default
),

ages as (
    select as_of_on, source, currency, months_since_default from flows
    union
    select as_of_on, source, currency, months_since_default from workouts
),

at_risk as (
    select
        a.as_of_on,
        a.source,
        a.currency,
        a.months_since_default,
        sum(w.exposure) as open_exposure,
        sum(
            case when w.months_since_default = a.months_since_default and w.has_ended then w.exposure else 0 end
        ) as ended_exposure,
        count(*) as open_loans
    from ages as a
    inner join workouts as w
        on a.as_of_on = w.as_of_on
        and a.source = w.source
        and a.currency = w.currency
        and w.months_since_default >= a.months_since_default
    group by a.as_of_on, a.source, a.currency, a.months_since_default
)

select
    r.source,
    r.currency,
    r.as_of_on,
    cast(r.months_since_default as integer) as months_since_default,
    cast(r.open_loans as integer) as open_loans,
    cast(r.open_exposure as decimal(18, 2)) as open_exposure,
    cast(r.ended_exposure as decimal(18, 2)) as ended_exposure,
    cast(coalesce(f.recovered, 0) as decimal(18, 6)) as recovered
from at_risk as r
left join flows as f
    on r.as_of_on = f.as_of_on
    and r.source = f.source
    and r.currency = f.currency
    and r.months_since_default = f.months_since_default
