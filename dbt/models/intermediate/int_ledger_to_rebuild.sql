-- The loans of ledger sources whose months this build computes, and the first month to compute; all other months stay
-- as they are. The first build and every full build compute everything. Later builds recompute all months of a loan
-- that has a changed row in a reported month. If a source has reported another month, that month and the previous one,
-- which was the newest until now, are computed for each of its loans. A loan that has lost all its months, because its
-- opening was corrected, is listed too, so that its old rows are deleted.
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
    select changed.source, changed.loan_id, {{ ever() }} as from_month
    from {{ ref('stg_changed_rows') }} as changed
    inner join {{ ref('int_ledger_reported') }} as reported on changed.source = reported.source
    where changed.event_on is null or changed.event_on <= reported.reported_month
    union all
    select loans.source, loans.loan_id, coalesce(built.built_month, {{ ever() }}) as from_month
    from loans
    inner join {{ ref('int_ledger_reported') }} as reported on loans.source = reported.source
    left join built on loans.source = built.source
    where built.built_month is null or reported.reported_month > built.built_month
)
{% endif %}

select
    loans.source,
    loans.loan_id,
    min(touched.from_month) as from_month
from loans
inner join touched on loans.source = touched.source and loans.loan_id = touched.loan_id
inner join {{ ref('int_ledger_reported') }} as reported on loans.source = reported.source
group by loans.source, loans.loan_id
