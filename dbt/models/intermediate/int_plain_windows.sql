-- The windows of plain loans' observations (see int_plain_loans), in the columns of feat_loan_months' own windows, which
-- are those of the other loans. A test holds that the two are equal where both can be had.
{{ config(materialized='view') }}

with months as (
    select
        m.*,
        {{ month_index('m.month_on') }} as month_no
    from {{ ref('int_loan_months') }} as m
    inner join {{ ref('int_plain_loans') }} as p on m.source = p.source and m.loan_id = p.loan_id
),

with_previous as (
    select
        *,
        lag(month_no) over before_it is not null as has_previous,
        lag(balance) over before_it as previous_balance,
        lag(dpd_max) over before_it as previous_dpd
    from months
    window before_it as (partition by source, loan_id order by month_no)
),

measured as (
    select
        *,
        {{ owed() }} as owed,
        {{ rolled_up() }} as rolled_up
    from with_previous
),

compared as (
    select
        *,
        {{ util() }} as util,
        {{ pay_ratio() }} as pay_ratio,
        case when owed is not null then paid end as paid_of_owed
    from measured
)

select
    source,
    loan_id,
    month_on,

    count(*) over w3 = 3 as has_3m,
    count(*) over w6 = 6 as has_6m,
    count(*) over w12 = 12 as has_12m,
    coalesce(is_default, false) as in_default,

    dpd_end as dpd_now,
    max(dpd_max) over w3 as max_dpd_3m,
    max(dpd_max) over w6 as max_dpd_6m,
    max(dpd_max) over w12 as max_dpd_12m,
    count(case when dpd_max >= 1 then 1 end) over w6 as cnt_dpd1_6m,
    count(case when dpd_max >= 30 then 1 end) over w6 as cnt_dpd30_6m,
    count(case when dpd_max >= 60 then 1 end) over w6 as cnt_dpd60_6m,
    count(case when dpd_max >= 30 then 1 end) over w12 as cnt_dpd30_12m,
    coalesce(month_no - max(case when dpd_max >= 1 then month_no end) over w12, 99) as months_since_dpd1,
    coalesce(month_no - max(case when dpd_max >= 30 then month_no end) over w12, 99) as months_since_dpd30,
    count(case when rolled_up then 1 end) over w6 as roll_up_6m,

    sum(paid_of_owed) over w3 as paid_3m,
    sum(owed) over w3 as owed_3m,
    sum(paid_of_owed) over w6 as paid_6m,
    sum(owed) over w6 as owed_6m,
    sum(paid_of_owed) over w12 as paid_12m,
    sum(owed) over w12 as owed_12m,
    min(pay_ratio) over w6 as min_pay_ratio_6m,
    case
        when owed is not null
            then
                coalesce(
                    month_no - max(case when paid < owed or owed is null then month_no end) over w12,
                    count(*) over w12
                )
    end as full_pay_streak,

    util as util_now,
    avg(util) over w3 as util_mean_3m,
    avg(util) over w6 as util_mean_6m,
    avg(util) over w12 as util_mean_12m,
    regr_slope(util, cast(month_no as double)) over w6 as util_trend_6m,

    limit_amount,
    status_code as pay_status_0,
    lag(status_code, 1) over before_it as pay_status_1,
    lag(status_code, 2) over before_it as pay_status_2,
    lag(status_code, 3) over before_it as pay_status_3,
    lag(status_code, 4) over before_it as pay_status_4,
    lag(status_code, 5) over before_it as pay_status_5,
    balance as bill_amount,
    paid as pay_amount_last,
    sum(paid) over w3 as pay_amount_3m,
    sum(paid) over w6 as pay_amount_6m
from compared
window
    before_it as (partition by source, loan_id order by month_no),
    w3 as (partition by source, loan_id order by month_no rows between 2 preceding and current row),
    w6 as (partition by source, loan_id order by month_no rows between 5 preceding and current row),
    w12 as (partition by source, loan_id order by month_no rows between 11 preceding and current row)
