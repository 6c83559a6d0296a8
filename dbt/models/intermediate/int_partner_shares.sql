-- What funding partners bear of joint loans: every share but the lender's own.
{{ config(materialized='view') }}

select
    source,
    loan_id,
    partner,
    share
from {{ ref('stg_funding_shares') }}
where partner <> 'own'
