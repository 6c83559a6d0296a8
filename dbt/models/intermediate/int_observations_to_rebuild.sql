-- The loans whose observations are made in this build, and from which month on. Of sources that report by statements all
-- are, where anything of theirs is new: their months are as cheap to compute as to compare.
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
