-- One row per default and month of it: the recoveries, discounted at the loan's own rate to the month in which the
-- default began. A cured loan counts as having recovered what it owes at the cure; a write-off does not end the
-- workout. A restructuring that the plain month-end flag never showed is left out: PDs do not cover such defaults, and
-- the loss given default must cover the same defaults as the PD.
-- noqa: disable=layout.indent
{%- set recovered -%}
    case when dated.age > 0 then dated.paid + case when dated.is_end then dated.balance else 0 end else 0 end
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
        spells.source,
        spells.loan_id,
        spells.defaulted_on,
        months.month_on,
        {{ months_between('spells.first_month', 'months.month_on') }} as age,
        coalesce(months.month_on = spells.last_month, false) as is_end,
        months.state,
        months.paid,
        greatest(months.balance, 0) as balance,
        max(case when months.month_on = spells.first_month then greatest(months.balance, 0) end) over (
            partition by spells.source, spells.loan_id, spells.defaulted_on
        ) as exposure
    from spells
    inner join {{ ref('fct_loan_months') }} as months
        on spells.source = months.source
        and spells.loan_id = months.loan_id
        and months.month_on >= spells.first_month
        and (spells.last_month is null or months.month_on <= spells.last_month)
)

select
    dated.source,
    dated.loan_id,
    loans.product,
    loans.currency,
    dated.defaulted_on,
    dated.month_on,
    cast(dated.age as integer) as months_since_default,
    cast(coalesce(dated.exposure, 0) as decimal(18, 2)) as exposure,
    dated.is_end,
    dated.state = 'closed' as is_closed,
    cast({{ recovered }} as decimal(18, 2)) as recovered,
    -- a decimal, so that sums do not depend on the order
    cast(
        {{ recovered }} * power(
            1 + coalesce(cast(loans.annual_rate as double), {{ portfolio_policy().loss.discount_rate }}),
            -cast(dated.age as double) / 12
        ) as decimal(18, 6)
    ) as recovered_discounted
from dated
inner join {{ ref('dim_loans') }} as loans on dated.source = loans.source and dated.loan_id = loans.loan_id
where dated.age <= {{ portfolio_policy().loss.workout_months }}
