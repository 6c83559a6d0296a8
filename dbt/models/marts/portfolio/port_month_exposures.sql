-- One row per loan and month-end that a stage and an expected loss need: what is owed, and what could be drawn before a
-- default. A view, because each reader asks for few loans.
{{ config(materialized='view') }}

with {{ exposures(ref('fct_loan_months')) }}
