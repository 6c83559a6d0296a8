-- Every loan that is told of a month later went somewhere.
{{ config(meta={'dagster': {'ref': {'name': 'port_roll_rates'}}}) }}

select source, product, currency, month_on, from_state
from {{ ref('port_roll_rates') }}
where to_state <> 'lost'
group by source, product, currency, month_on, from_state
having abs(sum(rate) - 1) > 0.000001
