-- The moves of the newest months in one matrix, by cohort: N_ij / N_i. Also the inputs of the duration matrix: how
-- often loans moved from one state to another, and how long they were in each state. A state lasts from one month-end
-- to the next.
with reported as (
    {{ last_months(ref('port_roll_rates')) }}
),

moves as (
    select
        rates.source,
        rates.from_state,
        rates.to_state,
        sum(rates.loans) as loans,
        sum(rates.balance) as balance
    from {{ ref('port_roll_rates') }} as rates
    inner join reported on rates.source = reported.source
    where rates.to_state <> 'lost'
        and {{ months_between('rates.month_on', 'reported.last_month') }} < {{ portfolio_policy().matrix_months }}
    group by rates.source, rates.from_state, rates.to_state
),

counted as (
    select rates.source, count(distinct rates.month_on) as months
    from {{ ref('port_roll_rates') }} as rates
    inner join reported on rates.source = reported.source
    where {{ months_between('rates.month_on', 'reported.last_month') }} < {{ portfolio_policy().matrix_months }}
    group by rates.source
),

summed as (
    select
        *,
        sum(loans) over of_state as from_loans,
        sum(balance) over of_state as from_balance
    from moves
    window of_state as (partition by source, from_state)
)

select
    summed.source,
    summed.from_state,
    summed.to_state,
    cast(counted.months as integer) as months,
    cast(summed.loans as integer) as loans,
    cast(summed.from_loans as integer) as from_loans,
    {{ stored(ratio('summed.loans', 'summed.from_loans')) }} as probability,
    {{ stored(ratio('summed.balance', 'summed.from_balance')) }} as balance_probability,
    {{ stored(ratio('summed.from_loans', 12)) }} as exposure_years
from summed
inner join counted on summed.source = counted.source
