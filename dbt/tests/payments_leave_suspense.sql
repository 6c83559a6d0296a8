-- A payment whose loan is still not known so many days later (policy) is money that somebody has to look for. Days are
-- counted to the newest that the source tells of: without a word from it nothing grows old.
{{ config(severity='warn', meta={'dagster': {'ref': {'name': 'fct_payments'}}}) }}

with newest as (
    select source, max(known_on) as known_on from {{ ref('fct_payments') }} group by source
)

select p.source, p.payment_id, p.paid_on, p.known_on
from {{ ref('fct_payments') }} as p
inner join newest as n on p.source = n.source
where p.in_suspense and {{ days_between('p.known_on', 'n.known_on') }} > {{ var('suspense_days') }}
