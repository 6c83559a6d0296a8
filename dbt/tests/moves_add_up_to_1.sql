-- The rates of the moves out of a state add up to 1: every loan that has a later month either moved or stayed.
{{ config(meta={'dagster': {'ref': {'name': 'port_roll_rates'}}}) }}

select source, product, currency, month_on, from_state
from {{ ref('port_roll_rates') }}
where to_state <> 'lost'
group by source, product, currency, month_on, from_state
having abs(sum(rate) - 1) > 0.000001
