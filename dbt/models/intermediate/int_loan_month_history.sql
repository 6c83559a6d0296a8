-- Every observation of a loan that is not plain (int_on_time_loans) beside the months that it may know: at month-end t,
-- rows of t and the eleven months before whose `known_on` is no later than t plus the source's feature lag, each as it
-- was known by then. `age` 0 is the observed month itself. A row that became known late is absent here, so no feature
-- can see it, not even through the month after it.
{{ config(materialized='view') }}

with months as (
    select m.*, w.from_month
    from {{ ref('int_loan_months') }} as m
    inner join {{ ref('int_observations_to_rebuild') }} as w on m.source = w.source and m.loan_id = w.loan_id
    left join {{ ref('int_on_time_loans') }} as p on m.source = p.source and m.loan_id = p.loan_id
    where p.loan_id is null
        and {{ in_batch('m.loan_id') }}
),

dated as (
    select *, {{ add_days('month_on', by_source('feature_lag_days')) }} as visible_on from months
),

observations as (
    select source, loan_id, month_on, visible_on from dated where known_on <= visible_on and month_on >= from_month
),

visible as (
    select
        o.source,
        o.loan_id,
        o.month_on,
        {{ months_between('h.month_on', 'o.month_on') }} as age,
        h.dpd_max,
        h.dpd_end,
        h.due,
        h.paid,
        h.balance,
        h.limit_amount,
        h.status_code,
        h.is_default
    from observations as o
    inner join months as h
        on o.source = h.source and o.loan_id = h.loan_id
    where h.month_on <= o.month_on
        and h.known_on <= o.visible_on
        and (h.superseded_on is null or h.superseded_on > o.visible_on)
        -- one month more than the widest window, so that its oldest month has a month before it
        and {{ months_between('h.month_on', 'o.month_on') }} <= 12
),

with_previous as (
    select
        *,
        lag(age) over before_it = age + 1 as has_previous,
        lag(balance) over before_it as previous_balance,
        lag(dpd_max) over before_it as previous_dpd
    from visible
    window before_it as (partition by source, loan_id, month_on order by age desc)
),

measured as (
    select
        *,
        {{ owed() }} as owed,
        {{ rolled_up() }} as rolled_up
    from with_previous
)

select
    source,
    loan_id,
    month_on,
    age,
    is_default,
    dpd_end,
    balance,
    limit_amount,
    dpd_max,
    status_code,
    cast(paid as double) as paid,
    cast(owed as double) as owed,
    rolled_up,
    {{ util() }} as util
from measured
where age < 12
