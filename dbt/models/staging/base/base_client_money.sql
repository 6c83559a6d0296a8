{{ config(materialized='incremental', incremental_strategy='append', on_schema_change='fail') }}

{{ accepted_rows('client_money', ['booking_id', 'booked_on', 'kind', 'loan_id', 'amount', 'currency']) }}
