-- Every statement belongs to a delivered loan. Statements of other loans are in no mart until the loan is delivered.
{{ config(severity='warn', meta={'dagster': {'ref': {'name': 'fct_loan_months'}}}) }}

select statements.source, statements.loan_id, count(*) as months
from {{ ref('stg_statements') }} as statements
left join {{ ref('stg_loans') }} as loans on statements.source = loans.source and statements.loan_id = loans.loan_id
where loans.loan_id is null and statements.superseded_on is null
group by statements.source, statements.loan_id
