-- Where the loans of a month-end stand one month later. A loan that is closed or written off and of which no more is
-- told stays so; one that vanishes otherwise is out of the rates, and counted beside them.
with reported as (
    select source, max(month_on) as last_month from {{ ref('fct_loan_months') }} group by source
),

moves as (
    select
        m.source,
        l.product,
        l.currency,
        m.month_on,
        m.state as from_state,
        coalesce(m.state_after, case when {{ has_ended('m.state') }} then m.state end) as to_state,
        count(*) as loans,
        sum(greatest(m.balance, 0)) as balance
    from {{ ref('fct_loan_months') }} as m
    inner join reported as r on m.source = r.source
    inner join {{ ref('dim_loans') }} as l on m.source = l.source and m.loan_id = l.loan_id
    where m.month_on < r.last_month
    group by 1, 2, 3, 4, 5, 6
),

summed as (
    select
        *,
        coalesce(sum(case when to_state is not null then loans end) over of_state, 0) as from_loans,
        coalesce(sum(case when to_state is not null then balance end) over of_state, 0) as from_balance,
        coalesce(sum(case when to_state is null then loans end) over of_state, 0) as lost_loans
    from moves
    window of_state as (partition by source, product, currency, month_on, from_state)
)

select
    source,
    product,
    currency,
    month_on,
    from_state,
    coalesce(to_state, 'lost') as to_state,
    cast(loans as integer) as loans,
    cast(balance as decimal(18, 2)) as balance,
    cast(from_loans as integer) as from_loans,
    cast(from_balance as decimal(18, 2)) as from_balance,
    cast(lost_loans as integer) as lost_loans,
    {{ stored("case when to_state is not null then " ~ ratio('loans', 'from_loans') ~ " end") }} as rate,
    {{ stored("case when to_state is not null then " ~ ratio('balance', 'from_balance') ~ " end") }} as balance_rate
from summed
