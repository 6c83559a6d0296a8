-- What is owed, and could be, at the newest month-end of a source and at the one before: the loans that expected loss is
-- computed on.
with reported as (
    select source, {{ month_end_before('max(month_on)') }} as month_before
    from {{ ref('fct_loan_months') }}
    group by source
)

select
    e.source,
    e.loan_id,
    e.month_on,
    e.borrower_id,
    e.product,
    e.currency,
    e.cohort_on,
    e.mob,
    e.remaining_months,
    e.is_revolving,
    e.annual_rate,
    e.dpd_end,
    e.state,
    e.standing,
    e.arrears_basis,
    e.risk_class,
    e.is_default,
    e.is_probation,
    e.is_forborne,
    e.balance,
    e.limit_amount,
    e.exposure_at_default
from {{ ref('port_month_exposures') }} as e
inner join reported as r on e.source = r.source
where e.month_on >= r.month_before
