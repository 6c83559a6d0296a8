-- The shares of joint loans that funding partners bear: every share except the lender's own.
{{ config(materialized='view') }}

select
    source,
    loan_id,
    partner,
    share
from {{ ref('stg_funding_shares') }}
where partner <> 'own'
