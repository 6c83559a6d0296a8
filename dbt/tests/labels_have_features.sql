-- Every label has a feature row. A label without one would silently drop out of the training set.
{{ config(meta={'dagster': {'ref': {'name': 'label_loan_months'}}}) }}

select labels.source, labels.loan_id, labels.month_on
from {{ ref('label_loan_months') }} as labels
left join {{ ref('feat_loan_months') }} as features
    on labels.source = features.source and labels.loan_id = features.loan_id and labels.month_on = features.month_on
where features.loan_id is null and coalesce(labels.exclusion_reason, '') <> 'no_observation'
