-- Every month of every default of a loan: what came in, discounted to the month in which the default began at the loan's
-- own rate. A loan that is cured has recovered what it then owes; a write-off ends no workout. A restructuring that never
-- came to the plain flag is none: PDs know nothing of it, and a loss given default is of the defaults that they are of.
{%- set recovered -%}
    case when d.age > 0 then d.paid + case when d.is_end then d.balance else 0 end else 0 end
{%- endset %}

with spells as (
    select
        source,
        loan_id,
        defaulted_on,
        last_day(defaulted_on) as first_month,
        case when ended_by in ('cured', 'settled') then last_day(ended_on) end as last_month
    from {{ ref('fct_defaults') }}
    where trigger <> 'distressed_restructuring' or plain_default_on is not null
),

dated as (
    select
        s.source,
        s.loan_id,
        s.defaulted_on,
        m.month_on,
        {{ months_between('s.first_month', 'm.month_on') }} as age,
        coalesce(m.month_on = s.last_month, false) as is_end,
        m.state,
        m.paid,
        greatest(m.balance, 0) as balance,
        max(case when m.month_on = s.first_month then greatest(m.balance, 0) end) over (
            partition by s.source, s.loan_id, s.defaulted_on
        ) as exposure
    from spells as s
    inner join {{ ref('fct_loan_months') }} as m
        on s.source = m.source
        and s.loan_id = m.loan_id
        and m.month_on >= s.first_month
        and (s.last_month is null or m.month_on <= s.last_month)
)

select
    d.source,
    d.loan_id,
    l.product,
    l.currency,
    d.defaulted_on,
    d.month_on,
    cast(d.age as integer) as months_since_default,
    cast(coalesce(d.exposure, 0) as decimal(18, 2)) as exposure,
    d.is_end,
    d.state = 'closed' as is_closed,
    cast({{ recovered }} as decimal(18, 2)) as recovered,
    -- as a decimal, so that its sums do not depend on the order
    cast(
        {{ recovered }} * power(
            1 + coalesce(cast(l.annual_rate as double), {{ portfolio_policy().loss.discount_rate }}),
            -cast(d.age as double) / 12
        ) as decimal(18, 6)
    ) as recovered_discounted
from dated as d
inner join {{ ref('dim_loans') }} as l on d.source = l.source and d.loan_id = l.loan_id
where d.age <= {{ portfolio_policy().loss.workout_months }}
