-- What is owed, and could be, at the newest month-end of a source and at the one before: the loans that expected loss is
-- computed on. What is closed or written off is none.
with reported as (
    select source, {{ month_end_before('max(month_on)') }} as month_before
    from {{ ref('fct_loan_months') }}
    group by source
),

restructured as (
    select source, loan_id, max(occurred_on) as restructured_on
    from {{ ref('stg_loan_events') }}
    where kind = 'restructured'
    group by source, loan_id
),

newest as (
    select m.*
    from {{ ref('fct_loan_months') }} as m
    inner join reported as r on m.source = r.source
    where m.month_on >= r.month_before
        and m.state not in ('closed', 'written_off')
        and (m.balance > 0 or m.limit_amount is not null)
),

months as (
    select
        m.source,
        m.loan_id,
        m.month_on,
        l.borrower_id,
        l.product,
        l.currency,
        last_day(l.opened_on) as cohort_on,
        {{ months_between('l.opened_on', 'm.month_on') }} as mob,
        t.term_months,
        l.annual_rate,
        m.dpd_end,
        m.state,
        m.arrears_basis,
        m.standing,
        -- whoever the model takes to be in default has no PD: both definitions count
        m.is_default or m.standing = 'default' as is_default,
        greatest(m.balance, 0) as balance,
        m.limit_amount,
        -- and nobody leaves default for stage 1 at once, be it by settling or by the plain flag alone
        m.standing = 'probation' or coalesce(b.is_default or b.standing = 'default', false) as is_probation,
        x.restructured_on is not null
        and x.restructured_on <= m.month_on
        and {{ months_between('x.restructured_on', 'm.month_on') }} < {{ portfolio_policy().forborne_months }} as is_forborne
    from newest as m
    inner join {{ ref('dim_loans') }} as l on m.source = l.source and m.loan_id = l.loan_id
    inner join {{ ref('stg_loans') }} as t on m.source = t.source and m.loan_id = t.loan_id
    left join {{ ref('fct_loan_months') }} as b
        on m.source = b.source
        and m.loan_id = b.loan_id
        and b.month_on = {{ month_end_before('m.month_on') }}
    left join restructured as x on m.source = x.source and m.loan_id = x.loan_id
)

select
    source,
    loan_id,
    month_on,
    borrower_id,
    product,
    currency,
    cohort_on,
    cast(mob as integer) as mob,
    -- an instalment loan past its term has its rest to pay still
    cast(
        case
            when limit_amount is not null then {{ portfolio_policy().exposure.revolving_months }}
            else greatest(term_months - mob, 1)
        end as integer
    ) as remaining_months,
    limit_amount is not null as is_revolving,
    cast(annual_rate as double) as annual_rate,
    dpd_end,
    state,
    standing,
    arrears_basis,
    {{ risk_class('dpd_end', "state = 'written_off'") }} as risk_class,
    is_default,
    is_probation,
    is_forborne,
    cast(balance as decimal(18, 2)) as balance,
    limit_amount,
    -- nothing more is drawn once a loan is in default
    cast(
        balance
        + case
            when is_default then 0
            else {{ portfolio_policy().exposure.credit_conversion }} * greatest(coalesce(limit_amount, 0) - balance, 0)
        end as decimal(18, 2)
    ) as exposure_at_default
from months
