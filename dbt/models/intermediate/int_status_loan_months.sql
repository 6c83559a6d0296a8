-- Loan months of sources that report a repayment status: k months late count as 30k days past due. One row per version
-- of a statement.
select
    source,
    loan_id,
    month_on,
    known_on,
    superseded_on,
    cast(case when status_code >= 1 then 30 * status_code else 0 end as integer) as dpd,
    due,
    paid,
    balance,
    limit_amount,
    status_code,
    status_code >= {{ by_source('default_status_min') }} as is_default,
    false as is_written_off,
    false as is_closed,
    false as deferral_suspected
from {{ ref('stg_statements') }}
where {{ by_source('arrears_basis', quote=true) }} = 'status'
