-- A month-end as it is now known. Where a loan stands comes of its defaults (fct_defaults): in default from the month
-- in which it begins, in probation once nothing has held it open at a month-end, and performing again when it is cured.
-- Of what is computed anew the month before is told, too: it says what the month after it is.
{{ config(
    materialized='batches',
    meta={'loans_of': 'int_observations_to_rebuild', 'grows': true},
    pre_hook="{{ delete_for_rebuild('int_observations_to_rebuild', condition='month_on >= ' ~ month_end_before('to_rebuild.from_month')) }}",
) }}

with months as (
    select
        m.*,
        w.from_month,
        lag(m.month_on) over by_month as month_before,
        lag(m.state) over by_month as told_before,
        lead(m.month_on) over by_month as month_after,
        lead(m.state) over by_month as told_after
    from {{ ref('int_loan_months') }} as m
    inner join {{ ref('int_observations_to_rebuild') }} as w on m.source = w.source and m.loan_id = w.loan_id
    where m.superseded_on is null and {{ in_batch('m.loan_id') }} and {{ in_batch('w.loan_id') }}
    window by_month as (partition by m.source, m.loan_id order by m.month_on)
),

-- a write-off ends a default for good, and counts from the month in which it was known
in_default as (
    select
        m.source,
        m.loan_id,
        m.month_on,
        max(
            case
                when s.loan_id is not null or m.month_on = last_day(d.defaulted_on)
                    or (d.ended_by = 'written_off' and m.month_on >= d.ended_on)
                    then 1
                else 0
            end
        ) = 1 as is_held
    from months as m
    inner join {{ ref('fct_defaults') }} as d
        on m.source = d.source
        and m.loan_id = d.loan_id
        and m.month_on >= d.defaulted_on
        and (d.ended_on is null or d.ended_by = 'written_off' or m.month_on < d.ended_on)
    left join {{ ref('int_default_triggers') }} as s
        on m.source = s.source
        and m.loan_id = s.loan_id
        and m.month_on between s.from_on and s.until_on
        and s.kind in ('past_due', 'behind', 'reported')
    group by m.source, m.loan_id, m.month_on
),

standing as (
    select
        m.*,
        case
            when {{ has_ended('m.state') }} then m.state
            when d.is_held then 'default'
            when not d.is_held then 'probation'
            when m.dpd_end > 0 then 'past_due'
            else 'performing'
        end as standing
    from months as m
    left join in_default as d on m.source = d.source and m.loan_id = d.loan_id and m.month_on = d.month_on
),

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
    case when month_before = {{ month_end_before('month_on') }} then told_before end as state_before,
    case when month_after = {{ month_end_after('month_on') }} then told_after end as state_after,
    standing,
    coalesce(month_before = {{ month_end_before('month_on') }} and was_in_default, false) as was_in_default,
    arrears_basis,
    is_default,
    deferral_suspected
from followed
where month_on >= {{ month_end_before('from_month') }}
