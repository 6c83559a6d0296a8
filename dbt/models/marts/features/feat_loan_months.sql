-- One row per loan and month-end: keys, flags, then exactly the features of ml/features.py, in the same order. A window
-- that is longer than the known history is null, never 0.
-- noqa: disable=layout.indent
{{ config(
    materialized='batches',
    meta={'loans_of': 'int_observations_to_rebuild', 'grows': true},
    pre_hook="{{ delete_for_rebuild('int_observations_to_rebuild') }}",
) }}

-- one row per observation of a loan that is not on time, and month that the observation may use
with history as (
    select * from {{ ref('int_loan_month_history') }}
),

-- one row per observation of a loan that is not on time, with its months in columns
revised_observations as (
    select
        source,
        loan_id,
        month_on,
        true as is_made,
        coalesce(max(case when age = 0 and is_default then 1 end), 0) = 1 as in_default,
        max(case when age = 0 then dpd_end end) as dpd_end,
        max(case when age = 0 then balance end) as balance,
        max(case when age = 0 then limit_amount end) as limit_amount,
        {%- for months in [3, 6, 12] %}
        cast(count(case when age < {{ months }} then 1 end) as integer) as known_of_{{ months }},
        {%- endfor %}
        {%- for measure, months in side_by_side().items() %}
        {%- for age in range(months) %}
        max(case when age = {{ age }} then {{ measure }} end) as {{ measure }}_{{ age }}
        {{- "," if not (loop.last and measure == side_by_side().keys() | list | last) }}
        {%- endfor %}
        {%- endfor %}
    from history
    group by source, loan_id, month_on
    -- if the observed month itself is not known yet, there is no observation
    having max(case when age = 0 then 1 end) = 1
),

-- one row per observation, with its months in columns: every window is an expression over them
observations as (
    select * from {{ ref('int_on_time_observations') }}
    union all
    select * from revised_observations
),

-- one row per observation
summed as (
    select
        *,
        {{ paid_of_owed(3) }} as paid_of_3,
        {{ total('owed', 3) }} as owed_of_3,
        {{ paid_of_owed(6) }} as paid_of_6,
        {{ total('owed', 6) }} as owed_of_6,
        {{ paid_of_owed(12) }} as paid_of_12,
        {{ total('owed', 12) }} as owed_of_12,
        {{ smallest_pay_ratio(6) }} as smallest_of_6
    from observations
),

-- one row per source
reported as (
    {{ last_months(ref('fct_loan_months')) }}
),

-- one row per loan
loans as (
    select
        loans.source,
        loans.loan_id,
        loans.borrower_id,
        loans.opened_on,
        loans.original_amount,
        loans.annual_rate,
        reported.last_month
    from {{ ref('dim_loans') }} as loans
    inner join reported on loans.source = reported.source
    where {{ in_batch('loans.loan_id') }}
)

select
    summed.source,
    summed.loan_id,
    summed.month_on,
    loans.borrower_id,
    -- a card without a balance is live; a loan without one is not
    summed.month_on = loans.last_month and (summed.limit_amount is not null or summed.balance > 0) as is_live,
    summed.in_default,
    summed.balance = 0 as zero_balance,

    cast(summed.dpd_end as integer) as dpd_now,
    cast({{ if_known(3, largest('summed.dpd_max', 3)) }} as integer) as max_dpd_3m,
    cast({{ if_known(6, largest('summed.dpd_max', 6)) }} as integer) as max_dpd_6m,
    cast({{ if_known(12, largest('summed.dpd_max', 12)) }} as integer) as max_dpd_12m,
    cast({{ if_known(6, how_many('summed.dpd_max', 6, '>= 1')) }} as integer) as cnt_dpd1_6m,
    cast({{ if_known(6, how_many('summed.dpd_max', 6, '>= 30')) }} as integer) as cnt_dpd30_6m,
    cast({{ if_known(6, how_many('summed.dpd_max', 6, '>= 60')) }} as integer) as cnt_dpd60_6m,
    cast({{ if_known(12, how_many('summed.dpd_max', 12, '>= 30')) }} as integer) as cnt_dpd30_12m,
    cast({{ how_long_since('summed.dpd_max', 12, '>= 1', never=99) }} as integer) as months_since_dpd1,
    cast({{ how_long_since('summed.dpd_max', 12, '>= 30', never=99) }} as integer) as months_since_dpd30,
    cast({{ if_known(6, how_many('summed.rolled_up', 6, '= true')) }} as integer) as roll_up_6m,

    {{ stored(if_known(3, clip(ratio("summed.paid_of_3", "summed.owed_of_3"), 0, 3))) }} as pay_ratio_3m,
    {{ stored(if_known(6, clip(ratio("summed.paid_of_6", "summed.owed_of_6"), 0, 3))) }} as pay_ratio_6m,
    {{ stored(if_known(12, clip(ratio("summed.paid_of_12", "summed.owed_of_12"), 0, 3))) }} as pay_ratio_12m,
    {{ stored(if_known(6, clip("summed.smallest_of_6", 0, 3))) }} as min_pay_ratio_6m,
    cast({{ full_pay_streak() }} as integer) as full_pay_streak,

    {{ stored("summed.util_0") }} as util_now,
    {{ stored(if_known(3, average("summed.util", 3))) }} as util_mean_3m,
    {{ stored(if_known(6, average("summed.util", 6))) }} as util_mean_6m,
    {{ stored(if_known(12, average("summed.util", 12))) }} as util_mean_12m,
    {{ stored(if_known(6, slope("summed.util", 6))) }} as util_trend_6m,
    {{ stored(if_known(6, ratio(average("summed.util", 3), average("summed.util", 6)))) }} as util_3m_over_6m,

    cast({{ months_between('loans.opened_on', 'summed.month_on') }} as integer) as mob,
    {{ stored(clip(ratio('summed.balance', 'loans.original_amount'), 0, 2)) }} as bal_to_orig,
    cast(loans.annual_rate as double) as annual_rate,

    cast(summed.limit_amount as double) as limit_amount,
    cast(summed.status_code_0 as integer) as pay_status_0,
    cast(summed.status_code_1 as integer) as pay_status_1,
    cast(summed.status_code_2 as integer) as pay_status_2,
    cast(summed.status_code_3 as integer) as pay_status_3,
    cast(summed.status_code_4 as integer) as pay_status_4,
    cast(summed.status_code_5 as integer) as pay_status_5,
    cast(summed.balance as double) as bill_amount,
    summed.paid_0 as pay_amount_last,
    {{ stored(if_known(3, ratio(total("summed.paid", 3), 3))) }} as pay_amount_mean_3m,
    {{ stored(if_known(6, ratio(total("summed.paid", 6), 6))) }} as pay_amount_mean_6m
from summed
left join loans on summed.source = loans.source and summed.loan_id = loans.loan_id
