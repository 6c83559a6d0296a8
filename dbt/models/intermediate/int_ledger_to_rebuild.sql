-- The loans of ledger sources whose months are computed in this build, and from which month on; the others stay as they
-- are. A first build, and a full one, compute all. Afterwards: a loan of which something new is told is computed anew,
-- all of it, if what is new falls into a reported month; and where a source has reported another month, that month is
-- computed for each of its loans, with the one before, which was the newest until now. A loan that has no months any more,
-- because its opening was corrected, is named too: so what stands of it goes.
-- depends_on: {{ ref('stg_changed_rows') }}
{%- set before = built_before('int_ledger_loan_months') %}

with loans as (
    select source, loan_id from {{ ref('stg_loans') }} where {{ by_source('arrears_basis', quote=true) }} = 'ledger'
),

{% if before is none %}
touched as (
    select source, loan_id, {{ ever() }} as from_month from loans
)
{% else %}
built as (
    select source, max(month_on) as built_month from {{ before }} group by source
),

touched as (
    select n.source, n.loan_id, {{ ever() }} as from_month
    from {{ ref('stg_changed_rows') }} as n
    inner join {{ ref('int_ledger_reported') }} as r on n.source = r.source
    where n.event_on is null or n.event_on <= r.reported_month
    union all
    select l.source, l.loan_id, coalesce(b.built_month, {{ ever() }}) as from_month
    from loans as l
    inner join {{ ref('int_ledger_reported') }} as r on l.source = r.source
    left join built as b on l.source = b.source
    where b.built_month is null or r.reported_month > b.built_month
)
{% endif %}

select
    l.source,
    l.loan_id,
    min(t.from_month) as from_month
from loans as l
inner join touched as t on l.source = t.source and l.loan_id = t.loan_id
inner join {{ ref('int_ledger_reported') }} as r on l.source = r.source
group by l.source, l.loan_id
