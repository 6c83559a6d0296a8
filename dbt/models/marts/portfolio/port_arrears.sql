-- The newest month-end by product and arrears state: the number of loans, their balance and exposure, their risk class,
-- and the provision under the simplified approach.
{%- set rates = portfolio_policy().provision_rates %}
with exposures as (
    {{ newest_exposures() }}
)

select
    source,
    product,
    currency,
    state,
    risk_class,
    month_on,
    cast(count(*) as integer) as loans,
    cast(sum(balance) as decimal(18, 2)) as balance,
    cast(sum(exposure_at_default) as decimal(18, 2)) as exposure_at_default,
    cast(
        sum(balance) * case state
            {%- for state, rate in rates.items() %}
            when '{{ state }}' then cast({{ rate }} as decimal(9, 6))
            {%- endfor %}
        end as decimal(18, 2)
    ) as provision
from exposures
group by source, product, currency, state, risk_class, month_on
