-- One row per loan and month-end for which a stage and an expected loss can be computed: what is owed, and what could
-- be drawn before a default. It is a view, because each reader needs only few loans.
{{ config(materialized='view') }}

with {{ exposures(ref('fct_loan_months')) }}
