-- Loan months of sources that deliver a schedule and payments. Days past due are counted first in, first out: from the
-- due day of the oldest instalment whose cumulative due amount exceeds the amount paid so far.
--
-- A merge by amount replaces a join by time. The amount paid rises in steps. Per state of knowledge, each instalment is
-- placed at its cumulative due amount and each step at its cumulative paid amount. In descending order, with steps
-- before instalments of the same amount, the instalments before a step are the ones that it leaves unpaid. Arrears only
-- grow during a step, so the last day of a step in a month is its worst.
{{ config(
    materialized='batches',
    meta={'loans_of': 'int_ledger_to_rebuild', 'grows': true},
    pre_hook="{{ delete_for_rebuild('int_ledger_to_rebuild') }}",
) }}

-- one row per state of knowledge of a loan
with states as (
    select * from {{ ref('int_ledger_states') }} where {{ in_batch('loan_no') }}
),

-- one row per state and version of the schedule
versions as (
    select * from {{ ref('int_ledger_versions') }} where {{ in_batch('loan_no') }}
),

-- one row per state and month, for loans with several states: the month in which a later state replaces it
revised as (
    select
        state_no,
        month_on,
        lead(greatest(known_month, month_on)) over (
            partition by loan_no, month_on order by known_month
        ) as superseded_month
    from (
        select state_no, loan_no, known_month, {{ each_month_end('first_month', 'last_month') }} as month_on
        from states
        where is_revised
    ) as months
),

-- one row per state and instalment that counts
scheduled as (
    select
        versions.state_no,
        versions.version_no,
        instalments.due_on,
        instalments.instalment_no,
        instalments.amount,
        instalments.principal,
        {{ is_void('instalments.due_on', 'versions.next_from') }} as is_void
    from {{ ref('int_ledger_instalments') }} as instalments
    inner join versions
        on instalments.loan_no = versions.loan_no and instalments.valid_from = versions.valid_from
    where {{ in_batch('instalments.loan_no') }}
        and {{ is_seen('instalments', 'versions') }}
        and {{ takes_part('instalments') }}
        and instalments.amount <> 0
),

-- one row per state and instalment that stays due, with sums up to it
holding as (
    select
        state_no,
        due_on,
        principal,
        cast(sum(amount) over until_now as decimal(18, 2)) as due_so_far,
        cast(sum(principal) over until_now as decimal(18, 2)) as principal_so_far
    from scheduled
    where not is_void
    window until_now as (
        partition by state_no order by due_on, instalment_no rows between unbounded preceding and current row
    )
),

-- one row per state and day on which something is paid or a schedule version comes into force
days as (
    select
        state_no,
        day,
        cast(sum(amount) as decimal(18, 2)) as paid,
        case when sum(payments) > 0 then 1 else 0 end as is_payment,
        max(version_no) as version_no
    from (
        select
            states.state_no,
            payments.paid_on as day,
            payments.amount,
            payments.payments,
            cast(null as integer) as version_no
        from states
        inner join {{ ref('int_ledger_payments') }} as payments on states.loan_no = payments.loan_no
        where {{ in_batch('payments.loan_no') }}
            and payments.visible_month <= greatest(states.known_month, payments.month_on)
            and payments.month_on <= states.last_month
        union all
        select state_no, {{ add_days(month_end_before('in_force_month'), '1') }}, 0, 0, version_no
        from versions
        where is_ever_in_force
    ) as found
    group by state_no, day
),

-- one row per state and step; the amount paid and the schedule version stay the same from its day until the next step
steps as (
    select
        state_no,
        day,
        paid,
        is_payment,
        max(version_no) over until_now as version_no,
        cast(sum(paid) over until_now as decimal(18, 2)) as paid_so_far,
        {{ add_days('lead(day) over (partition by state_no order by day)', '-1') }} as until_day
    from days
    window until_now as (partition by state_no order by day rows between unbounded preceding and current row)
),

-- one row per state and step or instalment. In descending order of amount, the last instalment before a step is the
-- oldest one that the step leaves unpaid, so each of its columns is the running minimum.
merged as (
    select
        *,
        min(due_on) over unpaid as oldest_unpaid,
        min(principal_begins) over unpaid as unpaid_begins,
        min(principal_before) over unpaid as unpaid_before
    from (
        select
            steps.state_no,
            cast(0 as tinyint) as is_instalment,
            steps.paid_so_far as level,
            greatest(steps.day, {{ add_days(month_end_before('states.first_month'), '1') }}) as from_day,
            least(coalesce(steps.until_day, states.last_month), states.last_month) as until_day,
            steps.day,
            steps.paid,
            steps.is_payment,
            steps.version_no,
            cast(null as date) as due_on,
            cast(null as decimal(18, 2)) as principal_begins,
            cast(null as decimal(18, 2)) as principal_before
        from steps
        inner join states on steps.state_no = states.state_no
        where coalesce(steps.until_day, states.last_month) > {{ month_end_before('states.first_month') }}
        union all
        select
            state_no,
            1,
            due_so_far,
            null,
            null,
            null,
            null,
            null,
            null,
            due_on,
            cast(due_so_far - principal as decimal(18, 2)),
            cast(principal_so_far - principal as decimal(18, 2))
        from holding
    ) as levels
    window unpaid as (
        partition by state_no order by level desc, is_instalment rows between unbounded preceding and current row
    )
),

-- one row per state, step and month in which the step lasts
stretches as (
    select *, {{ each_month_end('from_day', 'until_day') }} as month_on
    from merged
    where is_instalment = 0 and from_day <= until_day
),

-- one row per state, step and month, with the days past due on the step's last day in the month
shares as (
    select
        state_no,
        month_on,
        version_no,
        level,
        oldest_unpaid,
        cast(unpaid_before + greatest(level - unpaid_begins, 0) as decimal(18, 2)) as principal_repaid,
        day > {{ month_end_before('month_on') }} as begins_here,
        until_day >= month_on as is_end,
        paid,
        is_payment,
        case
            when oldest_unpaid < least(until_day, month_on)
                then {{ days_between('oldest_unpaid', 'least(until_day, month_on)') }}
            else 0
        end as dpd
    from stretches
),

-- one row per state and month: the steps that end in it, what begins in it and what falls due in it
within as (
    select
        state_no,
        month_on,
        sum(due) as due,
        sum(paid) as paid,
        max(is_payment) as is_payment,
        max(dpd) as dpd
    from (
        select
            state_no,
            month_on,
            cast(0 as decimal(18, 2)) as due,
            case when begins_here then paid else 0 end as paid,
            case when begins_here then is_payment else 0 end as is_payment,
            case when is_end then 0 else dpd end as dpd
        from shares
        where begins_here or not is_end
        union all
        select state_no, last_day(due_on), amount, 0, 0, 0
        from scheduled
        where not is_void
    ) as found
    group by state_no, month_on
),

-- one row per state and month, from the step that lasts beyond the month-end
by_month as (
    select
        shares.state_no,
        shares.month_on,
        shares.version_no,
        shares.level as paid_so_far,
        shares.oldest_unpaid,
        shares.principal_repaid,
        shares.dpd as dpd_end,
        greatest(shares.dpd, coalesce(within.dpd, 0)) as dpd_max,
        coalesce(within.due, 0) as due,
        coalesce(within.paid, 0) as paid,
        coalesce(within.is_payment, 0) as is_payment
    from shares
    left join within on shares.state_no = within.state_no and shares.month_on = within.month_on
    where shares.is_end
),

-- one row per state and version of the schedule: the amount that stays due, and the amount that the next version
-- cancels
plans as (
    select
        *,
        sum(held) over until_now as held_so_far,
        sum(held_principal) over until_now as held_principal_so_far,
        sum(held_principal) over until_now + void_principal as principal_in_all
    from (
        select
            versions.state_no,
            versions.version_no,
            versions.in_force_month,
            versions.all_have_parts,
            versions.valid_from is not null as is_scheduled,
            coalesce(sum(case when not scheduled.is_void then scheduled.amount end), 0) as held,
            coalesce(sum(case when not scheduled.is_void then scheduled.principal end), 0) as held_principal,
            coalesce(sum(case when scheduled.is_void then scheduled.principal end), 0) as void_principal,
            coalesce(max(case when scheduled.is_void then 1 end), 0) = 1 as has_void
        from versions
        left join scheduled
            on versions.state_no = scheduled.state_no and versions.version_no = scheduled.version_no
        group by
            versions.state_no,
            versions.version_no,
            versions.in_force_month,
            versions.all_have_parts,
            versions.valid_from
    ) as of_version
    window until_now as (
        partition by state_no order by version_no rows between unbounded preceding and current row
    )
),

-- one row per state and month, with the totals of its schedule version and the columns of its loan
planned as (
    select
        by_month.*,
        plans.in_force_month,
        plans.all_have_parts,
        plans.is_scheduled,
        plans.principal_in_all,
        plans.held_so_far,
        plans.has_void,
        states.source,
        states.loan_no,
        states.loan_id,
        states.known_month,
        states.original_amount,
        states.limit_amount,
        by_month.dpd_end >= {{ by_source('default_dpd_min', 'states.source') }} as is_overdue,
        cast(
            coalesce({{ by_source('default_arrears_min', 'states.source') }}, 0) as decimal(18, 2)
        ) as default_arrears_min
    from by_month
    inner join states on by_month.state_no = states.state_no
    inner join plans on by_month.state_no = plans.state_no and by_month.version_no = plans.version_no
),

-- one row per state and instalment that the next version cancels, with sums up to it. Such an instalment may be the
-- oldest unpaid one if all instalments that stay due are paid.
void as (
    select
        scheduled.state_no,
        scheduled.version_no,
        scheduled.principal,
        plans.held_so_far + sum(scheduled.amount) over until_now as due_so_far,
        plans.held_principal_so_far + sum(scheduled.principal) over until_now as principal_so_far
    from scheduled
    inner join plans on scheduled.state_no = plans.state_no and scheduled.version_no = plans.version_no
    where scheduled.is_void
    window until_now as (
        partition by scheduled.state_no, scheduled.version_no
        order by scheduled.due_on, scheduled.instalment_no
        rows between unbounded preceding and current row
    )
),

-- one row per state and month whose oldest unpaid instalment is one that the next version cancels
void_unpaid as (
    select
        planned.state_no,
        planned.month_on,
        min(
            void.principal_so_far - void.principal + greatest(planned.paid_so_far - void.due_so_far + void.principal, 0)
        ) as principal_repaid
    from planned
    inner join void on planned.state_no = void.state_no and planned.version_no = void.version_no
    where planned.has_void and planned.paid_so_far >= planned.held_so_far and void.due_so_far > planned.paid_so_far
    group by planned.state_no, planned.month_on
),

-- one row per state and month; `repaid` is null if nothing in the current schedule is unpaid
repaid as (
    select
        planned.*,
        case
            when not planned.is_scheduled then 0
            when planned.paid_so_far < planned.held_so_far then planned.principal_repaid
            else void_unpaid.principal_repaid
        end as repaid
    from planned
    left join void_unpaid on planned.state_no = void_unpaid.state_no and planned.month_on = void_unpaid.month_on
),

-- one row per loan that was written off. A write-off counts from the month in which it is known; if it becomes known
-- late, the months before do not change.
written_off as (
    select loan_no, min(visible_month) as from_month
    from {{ ref('int_ledger_events') }}
    where kind = 'write_off'
    group by loan_no
),

-- one row per state and month: the amount in arrears, only for sources whose default depends on it
arrears as (
    select planned.state_no, planned.month_on, sum(scheduled.amount) - max(planned.paid_so_far) as amount
    from planned
    inner join scheduled on planned.state_no = scheduled.state_no
    where planned.is_overdue
        and planned.default_arrears_min > 0
        and not scheduled.is_void
        and scheduled.due_on <= planned.month_on
    group by planned.state_no, planned.month_on
)

select
    repaid.source,
    repaid.loan_id,
    repaid.month_on,
    {{ observed_on('greatest(repaid.month_on, repaid.known_month)', 'repaid.source') }} as known_on,
    {{ observed_on('revised.superseded_month', 'repaid.source') }} as superseded_on,
    cast(repaid.dpd_max as integer) as dpd_max,
    cast(repaid.dpd_end as integer) as dpd_end,
    cast(repaid.due as decimal(18, 2)) as due,
    cast(repaid.paid as decimal(18, 2)) as paid,
    cast(
        case
            when not repaid.is_scheduled then coalesce(repaid.original_amount, 0)
            when repaid.repaid is null then 0
            when repaid.all_have_parts
                then greatest(coalesce(repaid.original_amount, repaid.principal_in_all) - repaid.repaid, 0)
            else repaid.principal_in_all - repaid.repaid
        end as decimal(18, 2)
    ) as balance,
    repaid.limit_amount,
    (
        repaid.is_overdue
        and (repaid.default_arrears_min = 0 or arrears.amount >= repaid.default_arrears_min)
    )
    or written_off.loan_no is not null as is_default,
    written_off.loan_no is not null as is_written_off,
    repaid.repaid is null as is_closed
from repaid
left join revised on repaid.state_no = revised.state_no and repaid.month_on = revised.month_on
left join arrears on repaid.state_no = arrears.state_no and repaid.month_on = arrears.month_on
left join written_off on repaid.loan_no = written_off.loan_no and repaid.month_on >= written_off.from_month
-- a closed loan has no more rows, unless something happens to it
where repaid.repaid is not null or repaid.is_payment = 1 or repaid.month_on = repaid.in_force_month
