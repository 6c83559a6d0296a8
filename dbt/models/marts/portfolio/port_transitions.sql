-- The moves of the newest months in one matrix, by cohort: N_ij / N_i; and what the duration matrix is made from: how
-- often a state was left for another, and how long loans were in it. A state holds from one month-end to the next.
with reported as (
    select source, max(month_on) as last_month from {{ ref('port_roll_rates') }} group by source
),

moves as (
    select
        m.source,
        m.from_state,
        m.to_state,
        sum(m.loans) as loans,
        sum(m.balance) as balance
    from {{ ref('port_roll_rates') }} as m
    inner join reported as r on m.source = r.source
    where m.to_state <> 'lost'
        and {{ months_between('m.month_on', 'r.last_month') }} < {{ portfolio_policy().matrix_months }}
    group by m.source, m.from_state, m.to_state
),

told as (
    select m.source, count(distinct m.month_on) as months
    from {{ ref('port_roll_rates') }} as m
    inner join reported as r on m.source = r.source
    where {{ months_between('m.month_on', 'r.last_month') }} < {{ portfolio_policy().matrix_months }}
    group by m.source
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
    s.source,
    s.from_state,
    s.to_state,
    cast(t.months as integer) as months,
    cast(s.loans as integer) as loans,
    cast(s.from_loans as integer) as from_loans,
    {{ stored(ratio('s.loans', 's.from_loans')) }} as probability,
    {{ stored(ratio('s.balance', 's.from_balance')) }} as balance_probability,
    {{ stored(ratio('s.from_loans', 12)) }} as exposure_years
from summed as s
inner join told as t on s.source = t.source
