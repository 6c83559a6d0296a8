-- One row per default: what was owed when it began, what has been recovered since, and how many months it was followed,
-- up to its end or the last reported month.
with reported as (
    {{ last_months(ref('fct_loan_months')) }}
),

summed as (
    select
        source,
        loan_id,
        defaulted_on,
        max(product) as product,
        max(currency) as currency,
        max(exposure) as exposure,
        sum(recovered) as recovered,
        sum(recovered_discounted) as recovered_discounted,
        max(months_since_default) as last_age,
        max(case when is_end then 1 else 0 end) = 1 as has_ended,
        max(case when is_closed then 1 else 0 end) = 1 as is_closed
    from {{ ref('port_workout_months') }}
    group by source, loan_id, defaulted_on
),

aged as (
    select
        summed.*,
        {{ months_between('summed.defaulted_on', 'reported.last_month') }} as months_since
    from summed
    inner join reported on summed.source = reported.source
)

select
    source,
    loan_id,
    defaulted_on,
    product,
    currency,
    exposure,
    cast(recovered as decimal(18, 2)) as recovered,
    cast(recovered_discounted as decimal(18, 6)) as recovered_discounted,
    cast(
        case
            when has_ended or is_closed then last_age
            else least(months_since, {{ portfolio_policy().loss.workout_months }})
        end as integer
    ) as months_since_default,
    case
        when is_closed then 'repaid'
        when has_ended then 'cured'
        when months_since >= {{ portfolio_policy().loss.workout_months }} then 'ended'
        else 'open'
    end as state,
    {{ stored('1 - ' ~ ratio('recovered_discounted', 'exposure')) }} as loss_so_far
from aged
where exposure > 0
