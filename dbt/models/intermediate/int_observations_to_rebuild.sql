-- The loans whose observations this build computes, and the first month to compute. For a source that reports
-- statements these are all its loans, once any of its rows has changed: computing its months costs no more than
-- comparing them.
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
