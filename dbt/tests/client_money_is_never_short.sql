-- The account for client money is never below zero at the end of a day: only money that was received can be allocated
-- or refunded.
{{ config(severity='warn', meta={'dagster': {'ref': {'name': 'port_client_money'}}}) }}

select source, currency, booked_on, unallocated
from {{ ref('port_client_money') }}
where unallocated < 0
