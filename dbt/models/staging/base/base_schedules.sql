{{ config(materialized='incremental', incremental_strategy='append', on_schema_change='fail') }}

{{ accepted_rows(
    'schedules', ['loan_id', 'valid_from', 'instalment_no', 'due_on', 'amount', 'principal', 'interest']
) }}
