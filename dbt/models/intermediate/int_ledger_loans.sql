-- The loans of ledger sources that are computed in this build, each with a number: windows and joins over a whole number
-- are several times cheaper than over names. The number holds within one build and means nothing.
select
    cast(row_number() over (order by l.source, l.loan_id) as integer) as loan_no,
    l.source,
    l.loan_id,
    l.opened_on,
    l.original_amount,
    l.limit_amount,
    l.annual_rate,
    l.known_on,
    last_day(l.opened_on) as opening_month,
    {{ visible_month('l.opened_on', 'l.known_on', 'l.source') }} as visible_month,
    w.from_month
from {{ ref('stg_loans') }} as l
inner join {{ ref('int_ledger_to_rebuild') }} as w on l.source = w.source and l.loan_id = w.loan_id
inner join {{ ref('int_ledger_reported') }} as r on l.source = r.source
where last_day(l.opened_on) <= r.reported_month
