-- The arrears state of a month-end's loans one month later. A closed or written-off loan without a later month keeps
-- its state. Any other loan without a later month is excluded from the rates and counted as `lost`.
with reported as (
    {{ last_months(ref('fct_loan_months')) }}
),

moves as (
    select
        months.source,
        loans.product,
        loans.currency,
        months.month_on,
        months.state as from_state,
        coalesce(months.state_after, case when {{ has_ended('months.state') }} then months.state end) as to_state,
        count(*) as loans,
        sum(greatest(months.balance, 0)) as balance
    from {{ ref('fct_loan_months') }} as months
    inner join reported on months.source = reported.source
    inner join {{ ref('dim_loans') }} as loans on months.source = loans.source and months.loan_id = loans.loan_id
    where months.month_on < reported.last_month
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
