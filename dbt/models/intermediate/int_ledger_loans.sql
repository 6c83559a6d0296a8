-- Loans of ledger sources, each with a number: windows and joins over a whole number are several times faster than over
-- names. The number holds within one build and means nothing.
select
    cast(row_number() over (order by source, loan_id) as integer) as loan_no,
    source,
    loan_id,
    opened_on,
    original_amount,
    limit_amount,
    known_at,
    last_day(opened_on) as opening_month,
    {{ visible_month('opened_on', 'known_at') }} as visible_month
from {{ ref('stg_loans') }}
where {{ by_source('arrears_basis', quote=true) }} = 'ledger' and opened_on is not null
