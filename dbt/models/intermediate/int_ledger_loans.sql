-- The loans of ledger sources that this build computes, each with a number: windows and joins over a whole number are
-- several times cheaper than over names. The number is valid within only one build.
select
    cast(row_number() over (order by loans.source, loans.loan_id) as integer) as loan_no,
    loans.source,
    loans.loan_id,
    loans.opened_on,
    loans.original_amount,
    loans.limit_amount,
    loans.annual_rate,
    loans.known_on,
    last_day(loans.opened_on) as opening_month,
    {{ visible_month('loans.opened_on', 'loans.known_on', 'loans.source') }} as visible_month,
    to_rebuild.from_month
from {{ ref('stg_loans') }} as loans
inner join {{ ref('int_ledger_to_rebuild') }} as to_rebuild
    on loans.source = to_rebuild.source and loans.loan_id = to_rebuild.loan_id
inner join {{ ref('int_ledger_reported') }} as reported on loans.source = reported.source
where last_day(loans.opened_on) <= reported.reported_month
