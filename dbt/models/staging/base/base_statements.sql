{{ config(materialized='incremental', incremental_strategy='append', on_schema_change='fail') }}

{{ accepted_rows(
    'statements',
    ['loan_id', 'month_on', 'balance', 'limit_amount', 'due', 'paid', 'principal', 'status_code']
) }}
