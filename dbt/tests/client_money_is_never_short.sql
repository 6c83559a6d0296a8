-- What is allocated or refunded was there before: the account for the money of others is never below zero at a day's
-- end.
{{ config(severity='warn', meta={'dagster': {'ref': {'name': 'port_client_money'}}}) }}

select source, currency, booked_on, unallocated
from {{ ref('port_client_money') }}
where unallocated < 0
