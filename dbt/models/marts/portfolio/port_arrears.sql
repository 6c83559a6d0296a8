-- The newest month-end by product and arrears: loans, what they owe, their class, and the provision that the simplified
-- approach asks for.
{%- set rates = portfolio_policy().provision_rates %}
with reported as (
    select source, max(month_on) as last_month from {{ ref('port_exposures') }} group by source
)

select
    e.source,
    e.product,
    e.currency,
    e.state,
    e.risk_class,
    e.month_on,
    cast(count(*) as integer) as loans,
    cast(sum(e.balance) as decimal(18, 2)) as balance,
    cast(sum(e.exposure_at_default) as decimal(18, 2)) as exposure_at_default,
    cast(
        sum(e.balance) * case e.state
            {%- for state, rate in rates.items() %}
            when '{{ state }}' then cast({{ rate }} as decimal(9, 6))
            {%- endfor %}
        end as decimal(18, 2)
    ) as provision
from {{ ref('port_exposures') }} as e
inner join reported as r on e.source = r.source and e.month_on = r.last_month
group by e.source, e.product, e.currency, e.state, e.risk_class, e.month_on
