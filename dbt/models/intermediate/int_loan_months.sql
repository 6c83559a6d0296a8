-- One row a loan and month from whatever its source reports, in one shape.
with taiwan_cards as (
    select
        source,
        loan_id,
        month_on,
        known_at,
        -- The status counts months late; without a ledger the month's end is also its worst day.
        cast(case when status_code >= 1 then 30 * status_code else 0 end as integer) as dpd,
        due,
        paid,
        balance,
        limit_amount,
        status_code,
        'status' as arrears_basis,
        status_code >= {{ source_policy('default_status_min', 'taiwan_cards') }} as is_default
    from {{ ref('stg_taiwan_cards__statements') }}
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
        when dpd = 0 then 'current'
        when dpd <= 30 then '1-30'
        when dpd <= 60 then '31-60'
        when dpd <= 90 then '61-90'
        else '90+'
    end as state,
    arrears_basis,
    is_default
from taiwan_cards
