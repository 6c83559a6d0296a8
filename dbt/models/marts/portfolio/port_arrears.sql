-- The newest month-end by product and arrears: loans, what they owe, their class, and the provision that the simplified
-- approach asks for.
{%- set rates = portfolio_policy().provision_rates %}
with reported as (
    select source, max(month_on) as last_month from {{ ref('port_exposures') }} group by source
)

select
    exposures.source,
    exposures.product,
    exposures.currency,
    exposures.state,
    exposures.risk_class,
    exposures.month_on,
    cast(count(*) as integer) as loans,
    cast(sum(exposures.balance) as decimal(18, 2)) as balance,
    cast(sum(exposures.exposure_at_default) as decimal(18, 2)) as exposure_at_default,
    cast(
        sum(exposures.balance) * case exposures.state
            {%- for state, rate in rates.items() %}
            when '{{ state }}' then cast({{ rate }} as decimal(9, 6))
            {%- endfor %}
        end as decimal(18, 2)
    ) as provision
from {{ ref('port_exposures') }} as exposures
inner join reported on exposures.source = reported.source and exposures.month_on = reported.last_month
group by exposures.source, exposures.product, exposures.currency, exposures.state, exposures.risk_class, exposures.month_on
