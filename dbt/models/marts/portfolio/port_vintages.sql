-- Cohorts of loans with the same origination month, followed month by month: how many loans were ever past due by the
-- policy's days, and how many were ever in default. A cohort is followed from its first month in the book to the last
-- month of its source. In a purchased pool the first month in the book is not the origination month. Months that only a
-- part of the cohort has reached are left out.

-- one row per loan
with bad as (
    select
        source,
        loan_id,
        min(month_on) as first_month,
        min(
            case
                when dpd_max >= {{ portfolio_policy().dpd_bad }} or state in ('90+', 'written_off') or is_default
                    then month_on
            end
        ) as bad_on,
        min(case when is_default then month_on end) as defaulted_on
    from {{ ref('fct_loan_months') }}
    group by source, loan_id
),

-- one row per loan with a day of opening
loans as (
    select
        bad.*,
        terms.product,
        terms.currency,
        last_day(terms.opened_on) as cohort_on,
        coalesce(terms.original_amount, terms.limit_amount, 0) as amount
    from bad
    inner join {{ ref('dim_loans') }} as terms on bad.source = terms.source and bad.loan_id = terms.loan_id
    where terms.opened_on is not null
),

-- one row per source
reported as (
    {{ last_months(ref('fct_loan_months')) }}
),

-- one row per cohort
cohorts as (
    select
        counted.*,
        reported.last_month
    from (
        select
            source,
            product,
            currency,
            cohort_on,
            count(*) as loans,
            cast(sum(amount) as decimal(18, 2)) as amount,
            min(first_month) as first_month
        from loans
        group by source, product, currency, cohort_on
    ) as counted
    inner join reported on counted.source = reported.source
),

-- one row per cohort and month
grid as (
    select
        source,
        product,
        currency,
        cohort_on,
        loans,
        amount,
        {{ each_month_end('first_month', 'last_month') }} as month_on
    from cohorts
),

-- one row per cohort and month in which one of its loans turned bad or went into default
turned as (
    select
        source,
        product,
        currency,
        cohort_on,
        month_on,
        sum(bad_loans) as bad_loans,
        sum(bad_amount) as bad_amount,
        sum(default_loans) as default_loans,
        sum(default_amount) as default_amount
    from (
        select
            source, product, currency, cohort_on, bad_on as month_on,
            1 as bad_loans, amount as bad_amount, 0 as default_loans, cast(0 as decimal(18, 2)) as default_amount
        from loans
        where bad_on is not null
        union all
        select source, product, currency, cohort_on, defaulted_on, 0, 0, 1, amount
        from loans
        where defaulted_on is not null
    ) as events
    group by source, product, currency, cohort_on, month_on
),

-- one row per cohort and month
cumulated as (
    select
        grid.*,
        sum(coalesce(turned.bad_loans, 0)) over until_now as ever_90_loans,
        sum(coalesce(turned.bad_amount, 0)) over until_now as ever_90_amount,
        sum(coalesce(turned.default_loans, 0)) over until_now as default_loans,
        sum(coalesce(turned.default_amount, 0)) over until_now as default_amount
    from grid
    left join turned
        on grid.source = turned.source and grid.product = turned.product and grid.currency = turned.currency
        and grid.cohort_on = turned.cohort_on and grid.month_on = turned.month_on
    window until_now as (
        partition by grid.source, grid.product, grid.currency, grid.cohort_on order by grid.month_on
        rows between unbounded preceding and current row
    )
)

select
    source,
    product,
    currency,
    cohort_on,
    cast({{ months_between('cohort_on', 'month_on') }} as integer) as mob,
    month_on,
    cast(loans as integer) as loans,
    amount,
    cast(ever_90_loans as integer) as ever_90_loans,
    cast(ever_90_amount as decimal(18, 2)) as ever_90_amount,
    cast(default_loans as integer) as default_loans,
    cast(default_amount as decimal(18, 2)) as default_amount,
    {{ stored(ratio('ever_90_loans', 'loans')) }} as ever_90_rate,
    {{ stored(ratio('ever_90_amount', 'amount')) }} as ever_90_amount_rate,
    {{ stored(ratio('default_loans', 'loans')) }} as default_rate,
    {{ stored(ratio('default_amount', 'amount')) }} as default_amount_rate
from cumulated
