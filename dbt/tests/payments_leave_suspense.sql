-- A payment whose loan is still unknown after the policy's `suspense_days` must be investigated. Days are counted up to
-- the newest row of the source, so that payments do not age while the source delivers nothing.
{{ config(severity='warn', meta={'dagster': {'ref': {'name': 'fct_payments'}}}) }}

with newest as (
    select source, max(known_on) as known_on from {{ ref('fct_payments') }} group by source
)

select payments.source, payments.payment_id, payments.paid_on, payments.known_on
from {{ ref('fct_payments') }} as payments
inner join newest on payments.source = newest.source
where payments.in_suspense and {{ days_between('payments.known_on', 'newest.known_on') }} > {{ var('suspense_days') }}
