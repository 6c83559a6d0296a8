-- Every observation of a loan that is not on time (int_on_time_loans), joined to the months that its features may use.
-- For an observation at month-end t these are t and the eleven months before, in the versions that were known on t plus
-- the source's feature lag. `age` 0 is the observed month itself. A row that became known later is absent, so no
-- feature can see it, not even as the month before another.
{{ config(materialized='view') }}

with months as (
    select months.*, to_rebuild.from_month
    from {{ ref('int_loan_months') }} as months
    inner join {{ ref('int_observations_to_rebuild') }} as to_rebuild
        on months.source = to_rebuild.source and months.loan_id = to_rebuild.loan_id
    left join {{ ref('int_on_time_loans') }} as on_time
        on months.source = on_time.source and months.loan_id = on_time.loan_id
    where on_time.loan_id is null
        and {{ in_batch('months.loan_id') }}
),

observations as (
    select source, loan_id, month_on, {{ observed_on('month_on') }} as visible_on
    from months
    where known_on <= {{ observed_on('month_on') }} and month_on >= from_month
),

visible as (
    select
        observations.source,
        observations.loan_id,
        observations.month_on,
        {{ months_between('history.month_on', 'observations.month_on') }} as age,
        history.dpd_max,
        history.dpd_end,
        history.due,
        history.paid,
        history.balance,
        history.limit_amount,
        history.status_code,
        history.is_default
    from observations
    inner join months as history
        on observations.source = history.source and observations.loan_id = history.loan_id
    where history.month_on <= observations.month_on
        and history.known_on <= observations.visible_on
        and (history.superseded_on is null or history.superseded_on > observations.visible_on)
        -- one month more than the widest window, so that the oldest month in it has a month before it
        and {{ months_between('history.month_on', 'observations.month_on') }} <= 12
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
