-- Months of a loan that nobody has told of are in no mart until the loan is delivered.
{{ config(severity='warn', meta={'dagster': {'ref': {'name': 'fct_loan_months'}}}) }}

select s.source, s.loan_id, count(*) as months
from {{ ref('stg_statements') }} as s
left join {{ ref('stg_loans') }} as l on s.source = l.source and s.loan_id = l.loan_id
where l.loan_id is null and s.superseded_on is null
group by s.source, s.loan_id
