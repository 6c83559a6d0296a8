-- One row per loan and month-end, as known now. A loan's standing follows from its defaults (fct_defaults): it is in
-- default from the month in which a default begins, in probation once nothing keeps the default open at a month-end,
-- and performing again once it is cured. The month before the first rebuilt one is rebuilt too, because its
-- `state_after` changes.
{{ config(
    materialized='batches',
    meta={'loans_of': 'int_observations_to_rebuild', 'grows': true},
    pre_hook="{{ delete_for_rebuild(
        'int_observations_to_rebuild', condition='month_on >= ' ~ month_end_before('to_rebuild.from_month')
    ) }}",
) }}

-- one row per loan and month, with the neighbouring rows of the loan
with months as (
    select
        months.*,
        to_rebuild.from_month,
        lag(months.month_on) over by_month as month_before,
        lag(months.state) over by_month as row_state_before,
        lead(months.month_on) over by_month as month_after,
        lead(months.state) over by_month as row_state_after
    from {{ ref('int_loan_months') }} as months
    inner join {{ ref('int_observations_to_rebuild') }} as to_rebuild
        on months.source = to_rebuild.source and months.loan_id = to_rebuild.loan_id
    where months.superseded_on is null
        and {{ in_batch('months.loan_id') }}
        and {{ in_batch('to_rebuild.loan_id') }}
    window by_month as (partition by months.source, months.loan_id order by months.month_on)
),

-- One row per loan and month in a default; `is_held` if something keeps it open at the month-end. A write-off ends a
-- default for good, and counts from the month in which it was known.
in_default as (
    select
        months.source,
        months.loan_id,
        months.month_on,
        max(
            case
                when triggers.loan_id is not null or months.month_on = last_day(defaults.defaulted_on)
                    or (defaults.ended_by = 'written_off' and months.month_on >= defaults.ended_on)
                    then 1
                else 0
            end
        ) = 1 as is_held
    from months
    inner join {{ ref('fct_defaults') }} as defaults
        on months.source = defaults.source
        and months.loan_id = defaults.loan_id
        and months.month_on >= defaults.defaulted_on
        and (defaults.ended_on is null or defaults.ended_by = 'written_off' or months.month_on < defaults.ended_on)
    left join {{ ref('int_default_triggers') }} as triggers
        on months.source = triggers.source
        and months.loan_id = triggers.loan_id
        and months.month_on between triggers.from_on and triggers.until_on
        and triggers.kind in ('past_due', 'behind', 'reported')
    group by months.source, months.loan_id, months.month_on
),

-- one row per loan and month
standing as (
    select
        months.*,
        case
            when {{ has_ended('months.state') }} then months.state
            when in_default.is_held then 'default'
            when not in_default.is_held then 'probation'
            when months.dpd_end > 0 then 'past_due'
            else 'performing'
        end as standing
    from months
    left join in_default
        on months.source = in_default.source
        and months.loan_id = in_default.loan_id
        and months.month_on = in_default.month_on
),

-- one row per loan and month
followed as (
    select
        *,
        lag(is_default or standing = 'default') over (partition by source, loan_id order by month_on) as was_in_default
    from standing
)

select
    source,
    loan_id,
    month_on,
    known_on,
    dpd_max,
    dpd_end,
    due,
    paid,
    balance,
    limit_amount,
    status_code,
    state,
    case when month_before = {{ month_end_before('month_on') }} then row_state_before end as state_before,
    case when month_after = {{ month_end_after('month_on') }} then row_state_after end as state_after,
    standing,
    coalesce(month_before = {{ month_end_before('month_on') }} and was_in_default, false) as was_in_default,
    arrears_basis,
    is_default,
    deferral_suspected
from followed
where month_on >= {{ month_end_before('from_month') }}
