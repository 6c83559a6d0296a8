select
    source,
    loan_id,
    month_on,
    known_at,
    dpd_max,
    dpd_end,
    due,
    paid,
    balance,
    limit_amount,
    status_code,
    state,
    arrears_basis,
    is_default,
    deferral_suspected
from {{ ref('int_loan_months') }}
where superseded_at is null
