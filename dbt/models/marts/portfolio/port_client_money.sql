-- The account that holds client money, by day and currency. Received money is allocated to a loan, refunded, or still
-- on the account.
with days as (
    select
        source,
        currency,
        booked_on,
        cast(sum(case when kind = 'received' then amount else 0 end) as decimal(18, 2)) as received,
        cast(sum(case when kind = 'allocated' then amount else 0 end) as decimal(18, 2)) as allocated,
        cast(sum(case when kind = 'refunded' then amount else 0 end) as decimal(18, 2)) as refunded,
        count(*) as bookings
    from {{ ref('stg_client_money') }}
    group by source, currency, booked_on
)

select
    source,
    currency,
    booked_on,
    received,
    allocated,
    refunded,
    cast(sum(received - allocated - refunded) over until_now as decimal(18, 2)) as unallocated,
    cast(bookings as integer) as bookings
from days
window until_now as (
    partition by source, currency order by booked_on rows between unbounded preceding and current row
)
