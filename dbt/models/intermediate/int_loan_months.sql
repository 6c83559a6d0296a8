-- One row a loan and month of every source, in one shape, whatever its arrears are known from.
with months as (
    select *, 'status' as arrears_basis from {{ ref('int_status_loan_months') }}
    union all
    select *, 'imputed' as arrears_basis from {{ ref('int_imputed_loan_months') }}
)

select
    source,
    loan_id,
    month_on,
    known_at,
    dpd as dpd_max,
    dpd as dpd_end,
    due,
    paid,
    balance,
    limit_amount,
    status_code,
    case
        when is_written_off then 'written_off'
        when is_closed then 'closed'
        when dpd = 0 then 'current'
        when dpd <= 30 then '1-30'
        when dpd <= 60 then '31-60'
        when dpd <= 90 then '61-90'
        else '90+'
    end as state,
    arrears_basis,
    is_default,
    deferral_suspected
from months
