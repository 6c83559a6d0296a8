-- What is owed, and could be, at every month-end: the loans that a stage and an expected loss are of. A view: whoever
-- reads it asks for few loans.
{{ config(materialized='view') }}

with {{ exposures(ref('fct_loan_months')) }}
