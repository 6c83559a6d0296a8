-- Payments of known loans of ledger sources, and the month from which a feature may use each. What was paid before the
-- opening counts on the opening day; a loan that became known late hides what belongs to it until then.
{{ config(materialized='view') }}

select
    p.source,
    p.payment_id,
    p.loan_id,
    greatest(p.paid_on, l.opened_on) as paid_on,
    p.amount,
    last_day(greatest(p.paid_on, l.opened_on)) as month_on,
    {{ visible_month('greatest(p.paid_on, l.opened_on)', 'greatest(p.known_at, l.known_at)', 'p.source') }} as visible_month
from {{ ref('stg_payments') }} as p
inner join {{ ref('stg_loans') }} as l on p.source = l.source and p.loan_id = l.loan_id
where {{ by_source('arrears_basis', 'p.source', quote=true) }} = 'ledger' and l.opened_on is not null
