{{ config(materialized='incremental', incremental_strategy='append', on_schema_change='fail') }}

{{ accepted_rows('payments', ['payment_id', 'loan_id', 'paid_on', 'amount', 'currency']) }}
