-- The loans whose observations this build makes, and from which month on. Of a source that reports statements these
-- are all loans, once any row of the source has changed: its months are as cheap to compute as to compare.
-- noqa: disable=layout.indent
-- depends_on: {{ ref('stg_changed_rows') }}
{%- set before = built_before('feat_loan_months') %}

select source, loan_id, from_month from {{ ref('int_ledger_to_rebuild') }}
union all
select source, loan_id, {{ ever() }} as from_month
from {{ ref('stg_loans') }}
where {{ by_source('arrears_basis', quote=true) }} <> 'ledger'
{%- if before is not none %}
    and source in (select source from {{ ref('stg_changed_rows') }})
{%- endif %}
