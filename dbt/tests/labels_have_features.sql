-- A label without a feature row would silently leave the training set.
{{ config(meta={'dagster': {'ref': {'name': 'label_loan_months'}}}) }}

select l.source, l.loan_id, l.month_on
from {{ ref('label_loan_months') }} as l
left join {{ ref('feat_loan_months') }} as f
    on l.source = f.source and l.loan_id = f.loan_id and l.month_on = f.month_on
where f.loan_id is null and coalesce(l.exclusion_reason, '') <> 'no_observation'
