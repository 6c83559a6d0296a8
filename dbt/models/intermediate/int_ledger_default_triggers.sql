-- Periods of days, and events, that decide whether a ledger loan is in default, as known now.
--
--   past_due      arrears have been at or above both thresholds for more days in a row than the policy allows
--   behind        more days past due than a cure allows
--   closed        nothing is owed
--   restructured  the terms were changed
--   distressed_restructuring  the terms were changed, and the loss of present value is above the policy's limit
--   written_off   the lender has written the loan off
--
-- The model does not loop over days. Sums change only on days on which something is paid, falls due, becomes old
-- enough or is scheduled; each period between two such days is one row. First in, first out, a loan is more than k days
-- past due exactly if the amounts that fell due more than k days before are not fully paid. Amounts are past due from
-- the day after they are due.
{{ config(
    materialized='batches',
    meta={'loans_of': 'int_ledger_to_rebuild', 'batch_size': 3, 'grows': true},
    pre_hook="{{ delete_for_rebuild('int_ledger_to_rebuild', whole=true) }}",
) }}

{%- set cure = default_policy().cure %}
{%- set nothing = 'cast(0 as decimal(18, 2))' %}
{%- set rate = 'coalesce(cast(candidates.annual_rate as double), ' ~ portfolio_policy().loss.discount_rate ~ ')' %}
{%- set years = days_between('events.occurred_on', 'scheduled.due_on') ~ ' / 365.0' %}
{%- set discounted = 'scheduled.amount * power(1 + ' ~ rate ~ ' / 12, -12 * ' ~ years ~ ')' %}
{%- set present_value = 'cast(' ~ discounted ~ ' as decimal(28, 6))' %}

-- one row per loan of the batch, with its thresholds
with loans as (
    select
        loans.*,
        reported.reported_month,
        {{ by_source('default_dpd_min', 'loans.source') }} as default_dpd_min,
        cast({{ by_source('materiality_amount', 'loans.source') }} as decimal(18, 2)) as materiality_amount,
        cast({{ by_source('materiality_share', 'loans.source') }} as decimal(9, 6)) as materiality_share,
        cast({{ by_source('value_lost_max', 'loans.source') }} as double) as value_lost_max
    from {{ ref('int_ledger_loans') }} as loans
    inner join {{ ref('int_ledger_reported') }} as reported on loans.source = reported.source
    where {{ in_batch('loans.loan_id') }}
),

-- one row per loan, kind of event and day
events as (
    select * from {{ ref('int_ledger_events') }}
),

-- one row per loan that was ever past due: the number of months with a day past due, and of month-ends past due
past_due as (
    select source, loan_id, count(*) as months, count(case when dpd_end > 0 then 1 end) as month_ends
    from {{ ref('int_ledger_loan_months') }}
    where superseded_on is null and dpd_max > 0 and {{ in_batch('loan_id') }}
    group by source, loan_id
),

-- one row per loan that can have a trigger: it was past due in enough months and at enough month-ends, or has an event
candidates as (
    select loans.*
    from loans
    left join past_due on loans.source = past_due.source and loans.loan_id = past_due.loan_id
    where (
        past_due.months * 31 > loans.default_dpd_min
        and past_due.month_ends >= floor((loans.default_dpd_min + 1) / 31)
    )
    or loans.loan_no in (select loan_no from events)
),

-- one row per version of an instalment. The newest version counts; a corrected version is known once its correction is.
delivered as (
    select
        candidates.loan_no,
        candidates.opened_on,
        schedules.valid_from,
        schedules.due_on,
        schedules.amount,
        greatest(
            schedules.known_on, candidates.known_on, coalesce(schedules.superseded_on, schedules.known_on)
        ) as known_on,
        schedules.superseded_on is null as is_newest
    from {{ ref('stg_schedules') }} as schedules
    inner join candidates on schedules.source = candidates.source and schedules.loan_id = candidates.loan_id
    where {{ in_batch('schedules.loan_id') }}
),

-- one row per loan and version of its schedule
versions as (
    select
        *,
        lead(valid_from) over (partition by loan_no order by valid_from) as next_from
    from (
        select loan_no, opened_on, valid_from, max(known_on) as known_on
        from delivered
        group by loan_no, opened_on, valid_from
    ) as found
),

-- one row per instalment that counts: in its newest version, and due on or after the day its schedule version begins
scheduled as (
    select
        delivered.loan_no,
        delivered.opened_on,
        delivered.valid_from,
        delivered.due_on,
        delivered.amount,
        {{ is_void('delivered.due_on', 'versions.next_from') }} as is_void
    from delivered
    inner join versions on delivered.loan_no = versions.loan_no and delivered.valid_from = versions.valid_from
    where delivered.is_newest and {{ takes_part('delivered') }}
),

-- one row per loan and version of its schedule: the amount that stays due, and the amount that the next version cancels
plans as (
    select
        versions.loan_no,
        versions.opened_on,
        versions.valid_from,
        versions.known_on,
        coalesce(sum(case when not scheduled.is_void then scheduled.amount end), 0) as held,
        coalesce(sum(case when scheduled.is_void then scheduled.amount end), 0) as void
    from versions
    left join scheduled on versions.loan_no = scheduled.loan_no and versions.valid_from = scheduled.valid_from
    group by versions.loan_no, versions.opened_on, versions.valid_from, versions.known_on
),

-- one row per change of a sum. `balance` is the balance of the previous month-end, which arrears are compared with.
changes as (
    select
        loan_no, opened_on as day, {{ nothing }} as due, {{ nothing }} as old_due, {{ nothing }} as paid,
        {{ nothing }} as planned, 0 as versions, coalesce(original_amount, 0) as balance, known_on
    from candidates
    union all
    select candidates.loan_no, {{ add_days('months.month_on', '1') }}, 0, 0, 0, 0, 0, months.balance, null
    from {{ ref('int_ledger_loan_months') }} as months
    inner join candidates on months.source = candidates.source and months.loan_id = candidates.loan_id
    where months.superseded_on is null and {{ in_batch('months.loan_id') }}
    union all
    select loan_no, greatest({{ add_days('due_on', '1') }}, opened_on), amount, 0, 0, 0, 0, null, null
    from scheduled
    where not is_void
    union all
    select loan_no, greatest({{ add_days('due_on', cure.dpd_max ~ ' + 1') }}, opened_on), 0, amount, 0, 0, 0, null, null
    from scheduled
    where not is_void
    union all
    select
        candidates.loan_no,
        greatest(payments.paid_on, candidates.opened_on),
        0, 0,
        case when payments.superseded_on is null then payments.amount else 0 end,
        0, 0, null,
        greatest(payments.known_on, candidates.known_on, coalesce(payments.superseded_on, payments.known_on))
    from {{ ref('stg_payments') }} as payments
    inner join candidates on payments.source = candidates.source and payments.loan_id = candidates.loan_id
    where {{ in_batch('payments.loan_id') }}
    union all
    select
        loan_no,
        greatest(valid_from, opened_on),
        0, 0, 0,
        held + void - coalesce(lag(void) over (partition by loan_no order by valid_from), 0),
        1,
        null,
        known_on
    from plans
    union all
    select loan_no, occurred_on, 0, 0, 0, 0, 0, null, known_on
    from events
),

-- one row per loan and day with a change
days as (
    select
        changes.loan_no,
        changes.day,
        sum(changes.due) as due,
        sum(changes.old_due) as old_due,
        sum(changes.paid) as paid,
        sum(changes.planned) as planned,
        sum(changes.versions) as versions,
        max(changes.balance) as balance,
        max(changes.known_on) as known_on
    from changes
    inner join candidates on changes.loan_no = candidates.loan_no
    where changes.day <= candidates.reported_month
    group by changes.loan_no, changes.day
),

-- one row per loan and period of days without a change, with the sums up to it
sums as (
    select
        loan_no,
        day,
        {{ add_days('lead(day) over by_day', '-1') }} as until_on,
        sum(due) over by_day as due,
        sum(old_due) over by_day as old_due,
        sum(paid) over by_day as paid,
        sum(planned) over by_day as planned,
        sum(versions) over by_day as versions,
        {{ ignoring_nulls('last_value', 'balance') }} over by_day as balance,
        max(known_on) over by_day as known_on
    from days
    window by_day as (partition by loan_no order by day)
),

-- one row per loan and period of days without a change, with flags for its days
flagged as (
    select
        sums.loan_no,
        sums.day,
        coalesce(sums.until_on, candidates.reported_month) as until_on,
        sums.known_on,
        sums.due,
        sums.paid,
        sums.due > sums.paid
        and sums.due - sums.paid
        >= greatest(candidates.materiality_amount, candidates.materiality_share * sums.balance) as is_material,
        sums.old_due > sums.paid as is_behind,
        sums.versions > 0 and sums.paid >= sums.planned as is_closed
    from sums
    inner join candidates on sums.loan_no = candidates.loan_no
),

-- one row per loan and change of terms: the present values of the remaining instalments of the schedule before it, and
-- of the schedule that begins on its day. Both are values on the day of the change, discounted at the agreed rate with
-- monthly compounding. Sums of decimals do not depend on the order.
present_values as (
    select
        events.loan_no,
        events.occurred_on,
        sum(case when scheduled.valid_from < events.occurred_on then {{ present_value }} end) as of_before,
        sum(case when scheduled.valid_from = events.occurred_on then {{ present_value }} end) as of_after
    from events
    inner join candidates on events.loan_no = candidates.loan_no
    inner join versions on events.loan_no = versions.loan_no and versions.next_from = events.occurred_on
    inner join scheduled
        on versions.loan_no = scheduled.loan_no
        and scheduled.valid_from in (versions.valid_from, versions.next_from)
        and scheduled.due_on >= events.occurred_on
    where events.kind = 'restructured'
    group by events.loan_no, events.occurred_on
),

-- one row per loan and change of terms while something is owed. Arrears are part of both values, since they stay due.
restructured as (
    select
        events.loan_no,
        events.occurred_on,
        max(flagged.known_on) as known_on,
        max(
            case
                when present_values.of_before + flagged.due - flagged.paid > 0
                    then {{ stored(ratio(
                        'present_values.of_before - coalesce(present_values.of_after, 0)',
                        'present_values.of_before + flagged.due - flagged.paid',
                    )) }}
            end
        ) as value_lost
    from events
    inner join flagged on events.loan_no = flagged.loan_no and events.occurred_on = flagged.day
    left join present_values
        on events.loan_no = present_values.loan_no and events.occurred_on = present_values.occurred_on
    where events.kind = 'restructured' and not flagged.is_closed
    group by events.loan_no, events.occurred_on
),

-- one row per loan and period of days without a change. Adjacent periods with the same flag share a number: the count
-- of earlier periods without the flag.
numbered as (
    select
        *,
        count(case when not is_material then 1 end) over by_day as material_no,
        count(case when not is_behind then 1 end) over by_day as behind_no,
        count(case when not is_closed then 1 end) over by_day as closed_no
    from flagged
    window by_day as (partition by loan_no order by day)
),

-- one row per loan and period of days with material arrears; `from_on` is the day on which these arrears make a default
material as (
    select
        numbered.loan_no,
        numbered.day,
        numbered.until_on,
        numbered.known_on,
        numbered.material_no,
        {{ add_days(
            'min(numbered.day) over (partition by numbered.loan_no, numbered.material_no)', 'candidates.default_dpd_min'
        ) }} as from_on
    from numbered
    inner join candidates on numbered.loan_no = candidates.loan_no
    where numbered.is_material
),

-- one row per loan, kind and first day
triggers as (
    select
        loan_no,
        'past_due' as kind,
        from_on,
        max(until_on) as until_on,
        max(case when day <= from_on then known_on end) as known_on,
        cast(null as double) as value_lost
    from material
    group by loan_no, material_no, from_on
    having max(until_on) >= from_on
    {%- for kind in ['behind', 'closed'] %}
    union all
    select loan_no, '{{ kind }}', min(day), max(until_on), min(known_on), null
    from numbered
    where is_{{ kind }}
    group by loan_no, {{ kind }}_no
    {%- endfor %}
    union all
    select
        restructured.loan_no,
        case
            when restructured.value_lost > candidates.value_lost_max then 'distressed_restructuring'
            else 'restructured'
        end,
        restructured.occurred_on,
        restructured.occurred_on,
        restructured.known_on,
        restructured.value_lost
    from restructured
    inner join candidates on restructured.loan_no = candidates.loan_no
    union all
    select
        events.loan_no,
        'written_off',
        min(events.occurred_on),
        min(events.occurred_on),
        min(numbered.known_on),
        null
    from events
    inner join numbered on events.loan_no = numbered.loan_no and events.occurred_on = numbered.day
    where events.kind = 'write_off'
    group by events.loan_no
)

select
    loans.source,
    loans.loan_id,
    triggers.kind,
    triggers.from_on,
    triggers.until_on,
    greatest(triggers.known_on, triggers.from_on) as known_on,
    triggers.value_lost
from triggers
inner join loans on triggers.loan_no = loans.loan_no
-- only these kinds make a default; without one, the other kinds have nothing to end or to keep open
where
    triggers.loan_no in (
        select begun.loan_no
        from triggers as begun
        where begun.kind in ('past_due', 'distressed_restructuring', 'written_off')
    )
