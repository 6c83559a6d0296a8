-- Every month of every default of a loan: what came in, discounted to the month in which the default began at the loan's
-- own rate. A loan that comes out of default has recovered what it then owes.
{%- set recovered -%}
    case when d.month_no > d.start_no then d.paid + case when d.is_end then d.balance else 0 end else 0 end
{%- endset %}

with loans as (
    select
        m.source,
        m.loan_id,
        m.month_on,
        {{ month_index('m.month_on') }} as month_no,
        m.is_default,
        m.state,
        m.paid,
        greatest(m.balance, 0) as balance
    from {{ ref('fct_loan_months') }} as m
    inner join (
        select source, loan_id, min(month_on) as first_default_on
        from {{ ref('fct_loan_months') }}
        where is_default
        group by source, loan_id
    ) as d on m.source = d.source and m.loan_id = d.loan_id and m.month_on >= d.first_default_on
),

turns as (
    select
        *,
        is_default and not coalesce(lag(is_default) over by_month, false) as is_start,
        not is_default and coalesce(lag(is_default) over by_month, false) as is_end
    from loans
    window by_month as (partition by source, loan_id order by month_no)
),

numbered as (
    select
        *,
        sum(case when is_start then 1 else 0 end) over (
            partition by source, loan_id order by month_no rows between unbounded preceding and current row
        ) as default_no
    from turns
    where is_default or is_end
),

dated as (
    select
        *,
        min(month_no) over of_default as start_no,
        min(month_on) over of_default as defaulted_on,
        max(case when is_start then balance end) over of_default as exposure
    from numbered
    window of_default as (partition by source, loan_id, default_no)
)

select
    d.source,
    d.loan_id,
    l.product,
    l.currency,
    d.defaulted_on,
    d.month_on,
    cast(d.month_no - d.start_no as integer) as months_since_default,
    cast(d.exposure as decimal(18, 2)) as exposure,
    d.is_end,
    d.state = 'closed' as is_closed,
    cast({{ recovered }} as decimal(18, 2)) as recovered,
    -- as a decimal, so that its sums do not depend on the order
    cast(
        {{ recovered }} * power(
            1 + coalesce(cast(l.annual_rate as double), {{ portfolio_policy().loss.discount_rate }}),
            -cast(d.month_no - d.start_no as double) / 12
        ) as decimal(18, 6)
    ) as recovered_discounted
from dated as d
inner join {{ ref('dim_loans') }} as l on d.source = l.source and d.loan_id = l.loan_id
where d.month_no - d.start_no <= {{ portfolio_policy().loss.workout_months }}
