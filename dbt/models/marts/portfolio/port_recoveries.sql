-- Recoveries by months since default, as known at each of the two newest month-ends. With this curve open workouts are
-- extrapolated. `open_exposure` is the exposure at the start of default of the defaults that were still open just
-- before.

-- one row per source
with newest as (
    {{ last_months(ref('fct_loan_months')) }}
),

-- one row per source and month-end
as_of as (
    select source, last_month as as_of_on from newest
    union all
    select source, {{ month_end_before('last_month') }} from newest
),

-- one row per month-end, default and month of the default that was known at the month-end
months_by_then as (
    select as_of.as_of_on, workout_months.*
    from {{ ref('port_workout_months') }} as workout_months
    inner join as_of on workout_months.source = as_of.source and workout_months.month_on <= as_of.as_of_on
    where workout_months.exposure > 0
),

-- one row per month-end and default
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
    from months_by_then
    group by as_of_on, source, currency, loan_id, defaulted_on
),

-- one row per month-end, source, currency and months since default
flows as (
    select as_of_on, source, currency, months_since_default, sum(recovered_discounted) as recovered
    from months_by_then
    group by as_of_on, source, currency, months_since_default
),

-- one row per month-end, source, currency and months since default, with or without recoveries
ages as (
    select as_of_on, source, currency, months_since_default from flows
    union
    select as_of_on, source, currency, months_since_default from workouts
),

-- one row per month-end, source, currency and months since default
at_risk as (
    select
        ages.as_of_on,
        ages.source,
        ages.currency,
        ages.months_since_default,
        sum(workouts.exposure) as open_exposure,
        sum(
            case
                when workouts.months_since_default = ages.months_since_default and workouts.has_ended
                    then workouts.exposure
                else 0
            end
        ) as ended_exposure,
        count(*) as open_loans
    from ages
    inner join workouts
        on ages.as_of_on = workouts.as_of_on
        and ages.source = workouts.source
        and ages.currency = workouts.currency
        and workouts.months_since_default >= ages.months_since_default
    group by ages.as_of_on, ages.source, ages.currency, ages.months_since_default
)

select
    at_risk.source,
    at_risk.currency,
    at_risk.as_of_on,
    cast(at_risk.months_since_default as integer) as months_since_default,
    cast(at_risk.open_loans as integer) as open_loans,
    cast(at_risk.open_exposure as decimal(18, 2)) as open_exposure,
    cast(at_risk.ended_exposure as decimal(18, 2)) as ended_exposure,
    cast(coalesce(flows.recovered, 0) as decimal(18, 6)) as recovered
from at_risk
left join flows
    on at_risk.as_of_on = flows.as_of_on
    and at_risk.source = flows.source
    and at_risk.currency = flows.currency
    and at_risk.months_since_default = flows.months_since_default
