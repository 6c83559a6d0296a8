-- One row a loan and month-end: keys, flags, then exactly the features of ml/features.py in its order. A window that
-- is longer than the known history is null, never 0.
with history as (
    select * from {{ ref('int_loan_month_history') }}
),

windows_of_the_others as (
    select
        source,
        loan_id,
        month_on,

        count(*) filter (where age < 3) = 3 as has_3m,
        count(*) filter (where age < 6) = 6 as has_6m,
        count(*) = 12 as has_12m,
        coalesce(max(case when age = 0 and is_default then 1 end), 0) = 1 as in_default,

        max(dpd_end) filter (where age = 0) as dpd_now,
        max(dpd_max) filter (where age < 3) as max_dpd_3m,
        max(dpd_max) filter (where age < 6) as max_dpd_6m,
        max(dpd_max) as max_dpd_12m,
        count(*) filter (where age < 6 and dpd_max >= 1) as cnt_dpd1_6m,
        count(*) filter (where age < 6 and dpd_max >= 30) as cnt_dpd30_6m,
        count(*) filter (where age < 6 and dpd_max >= 60) as cnt_dpd60_6m,
        count(*) filter (where dpd_max >= 30) as cnt_dpd30_12m,
        coalesce(min(age) filter (where dpd_max >= 1), 99) as months_since_dpd1,
        coalesce(min(age) filter (where dpd_max >= 30), 99) as months_since_dpd30,
        count(*) filter (where age < 6 and rolled_up) as roll_up_6m,

        sum(paid) filter (where age < 3 and owed is not null) as paid_3m,
        sum(owed) filter (where age < 3) as owed_3m,
        sum(paid) filter (where age < 6 and owed is not null) as paid_6m,
        sum(owed) filter (where age < 6) as owed_6m,
        sum(paid) filter (where owed is not null) as paid_12m,
        sum(owed) as owed_12m,
        min(pay_ratio) filter (where age < 6) as min_pay_ratio_6m,
        -- A month of which it is not known what was owed ends the streak, and the newest one leaves it unknown.
        case
            when count(owed) filter (where age = 0) = 1
                then coalesce(min(age) filter (where paid < owed or owed is null), count(*))
        end as full_pay_streak,

        max(util) filter (where age = 0) as util_now,
        avg(util) filter (where age < 3) as util_mean_3m,
        avg(util) filter (where age < 6) as util_mean_6m,
        avg(util) as util_mean_12m,
        regr_slope(util, cast(-age as double)) filter (where age < 6) as util_trend_6m,

        max(limit_amount) filter (where age = 0) as limit_amount,
        max(status_code) filter (where age = 0) as pay_status_0,
        max(status_code) filter (where age = 1) as pay_status_1,
        max(status_code) filter (where age = 2) as pay_status_2,
        max(status_code) filter (where age = 3) as pay_status_3,
        max(status_code) filter (where age = 4) as pay_status_4,
        max(status_code) filter (where age = 5) as pay_status_5,
        max(balance) filter (where age = 0) as bill_amount,
        max(paid) filter (where age = 0) as pay_amount_last,
        sum(paid) filter (where age < 3) as pay_amount_3m,
        sum(paid) filter (where age < 6) as pay_amount_6m
    from history
    group by source, loan_id, month_on
    -- an observation whose own month is not known yet is none
    having count(*) filter (where age = 0) = 1
),

windows as (
    select * from windows_of_the_others
    union all
    select * from {{ ref('int_plain_windows') }}
),

newest as (
    select source, max(month_on) as newest_month_on
    from {{ ref('fct_loan_months') }}
    group by source
)

select
    w.source,
    w.loan_id,
    w.month_on,
    l.borrower_id,
    -- A card is live with nothing on it; a loan is not.
    w.month_on = n.newest_month_on and (w.limit_amount is not null or w.bill_amount > 0) as is_live,
    w.in_default,
    w.bill_amount = 0 as zero_balance,

    cast(w.dpd_now as integer) as dpd_now,
    cast(case when w.has_3m then w.max_dpd_3m end as integer) as max_dpd_3m,
    cast(case when w.has_6m then w.max_dpd_6m end as integer) as max_dpd_6m,
    cast(case when w.has_12m then w.max_dpd_12m end as integer) as max_dpd_12m,
    cast(case when w.has_6m then w.cnt_dpd1_6m end as integer) as cnt_dpd1_6m,
    cast(case when w.has_6m then w.cnt_dpd30_6m end as integer) as cnt_dpd30_6m,
    cast(case when w.has_6m then w.cnt_dpd60_6m end as integer) as cnt_dpd60_6m,
    cast(case when w.has_12m then w.cnt_dpd30_12m end as integer) as cnt_dpd30_12m,
    cast(w.months_since_dpd1 as integer) as months_since_dpd1,
    cast(w.months_since_dpd30 as integer) as months_since_dpd30,
    cast(case when w.has_6m then w.roll_up_6m end as integer) as roll_up_6m,

    {{ stored("case when w.has_3m then " ~ clip(ratio("w.paid_3m", "w.owed_3m"), 0, 3) ~ " end") }} as pay_ratio_3m,
    {{ stored("case when w.has_6m then " ~ clip(ratio("w.paid_6m", "w.owed_6m"), 0, 3) ~ " end") }} as pay_ratio_6m,
    {{ stored("case when w.has_12m then " ~ clip(ratio("w.paid_12m", "w.owed_12m"), 0, 3) ~ " end") }} as pay_ratio_12m,
    {{ stored("case when w.has_6m then w.min_pay_ratio_6m end") }} as min_pay_ratio_6m,
    cast(w.full_pay_streak as integer) as full_pay_streak,

    {{ stored("w.util_now") }} as util_now,
    {{ stored("case when w.has_3m then w.util_mean_3m end") }} as util_mean_3m,
    {{ stored("case when w.has_6m then w.util_mean_6m end") }} as util_mean_6m,
    {{ stored("case when w.has_12m then w.util_mean_12m end") }} as util_mean_12m,
    {{ stored("case when w.has_6m then w.util_trend_6m end") }} as util_trend_6m,
    {{ stored("case when w.has_6m then " ~ ratio("w.util_mean_3m", "w.util_mean_6m") ~ " end") }} as util_3m_over_6m,

    cast({{ months_between('l.opened_on', 'w.month_on') }} as integer) as mob,
    {{ stored(clip(ratio('w.bill_amount', 'l.original_amount'), 0, 2)) }} as bal_to_orig,
    cast(l.annual_rate as double) as annual_rate,

    cast(w.limit_amount as double) as limit_amount,
    cast(w.pay_status_0 as integer) as pay_status_0,
    cast(w.pay_status_1 as integer) as pay_status_1,
    cast(w.pay_status_2 as integer) as pay_status_2,
    cast(w.pay_status_3 as integer) as pay_status_3,
    cast(w.pay_status_4 as integer) as pay_status_4,
    cast(w.pay_status_5 as integer) as pay_status_5,
    cast(w.bill_amount as double) as bill_amount,
    cast(w.pay_amount_last as double) as pay_amount_last,
    {{ stored("case when w.has_3m then " ~ ratio("w.pay_amount_3m", 3) ~ " end") }} as pay_amount_mean_3m,
    {{ stored("case when w.has_6m then " ~ ratio("w.pay_amount_6m", 6) ~ " end") }} as pay_amount_mean_6m
from windows as w
inner join newest as n on w.source = n.source
left join {{ ref('dim_loans') }} as l on w.source = l.source and w.loan_id = l.loan_id
