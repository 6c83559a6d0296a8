-- Loan months of sources that deliver a schedule and payments. Days past due are first in, first out: at a day they
-- count from the earliest instalment whose cumulative due is more than what was paid by then.
--
-- One merge instead of a join in time. What was paid by a day rises in steps; per state of knowledge, instalments stand
-- at their cumulative due and steps at what was paid by then. In falling order, steps first on ties, the instalments
-- that stand before a step are those that it leaves unpaid. While a step lasts arrears only grow, so of each month its
-- last day is the worst.
{{ config(
    materialized='batches',
    meta={'loans_of': 'int_ledger_to_rebuild', 'grows': true},
    pre_hook="{{ delete_for_rebuild('int_ledger_to_rebuild') }}",
) }}

with states as (
    select * from {{ ref('int_ledger_states') }} where {{ in_batch('loan_no') }}
),

versions as (
    select * from {{ ref('int_ledger_versions') }} where {{ in_batch('loan_no') }}
),

-- What is known only in a later state of the loan's knowledge supersedes a month of an earlier one.
revised as (
    select
        state_no,
        month_on,
        lead(greatest(known_month, month_on)) over (partition by loan_no, month_on order by known_month) as superseded_month
    from (
        select state_no, loan_no, known_month, {{ each_month_end('first_month', 'last_month') }} as month_on
        from states
        where is_revised
    ) as told
),

-- `is_void`: the next version does away with it.
scheduled as (
    select
        v.state_no,
        v.version_no,
        i.due_on,
        i.instalment_no,
        i.amount,
        i.principal,
        coalesce(i.due_on >= v.next_from, false) as is_void
    from {{ ref('int_ledger_instalments') }} as i
    inner join versions as v on i.loan_no = v.loan_no and i.valid_from = v.valid_from
    where {{ in_batch('i.loan_no') }}
        and {{ is_seen('i', 'v') }}
        and i.due_on >= i.valid_from
        and i.amount <> 0
),

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

-- Every paying day, and the days with which a version comes into force.
days as (
    select
        state_no,
        day,
        cast(sum(amount) as decimal(18, 2)) as paid,
        case when sum(payments) > 0 then 1 else 0 end as is_payment,
        max(version_no) as version_no
    from (
        select s.state_no, p.paid_on as day, p.amount, p.payments, cast(null as integer) as version_no
        from states as s
        inner join {{ ref('int_ledger_payments') }} as p on s.loan_no = p.loan_no
        where {{ in_batch('p.loan_no') }}
            and p.visible_month <= greatest(s.known_month, p.month_on)
            and p.month_on <= s.last_month
        union all
        select state_no, {{ add_days(month_end_before('in_force_month'), '1') }}, 0, 0, version_no
        from versions
        where is_ever_in_force
    ) as found
    group by state_no, day
),

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

-- In falling order of the level the last instalment before a step is the oldest that it leaves unpaid: each of its
-- columns is the smallest so far.
merged as (
    select
        *,
        min(due_on) over unpaid as oldest_unpaid,
        min(principal_begins) over unpaid as unpaid_begins,
        min(principal_before) over unpaid as unpaid_before
    from (
        select
            p.state_no,
            cast(0 as tinyint) as is_instalment,
            p.paid_so_far as level,
            greatest(p.day, {{ add_days(month_end_before('s.first_month'), '1') }}) as from_day,
            least(coalesce(p.until_day, s.last_month), s.last_month) as until_day,
            p.day,
            p.paid,
            p.is_payment,
            p.version_no,
            cast(null as date) as due_on,
            cast(null as decimal(18, 2)) as principal_begins,
            cast(null as decimal(18, 2)) as principal_before
        from steps as p
        inner join states as s on p.state_no = s.state_no
        where coalesce(p.until_day, s.last_month) > {{ month_end_before('s.first_month') }}
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

stretches as (
    select *, {{ each_month_end('from_day', 'until_day') }} as month_on
    from merged
    where is_instalment = 0 and from_day <= until_day
),

-- In each month that a step lasts in: how far behind it leaves the loan at its last day there.
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

-- The steps that end within a month, what begins in it and what is due in it.
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

-- The step that lasts until a month's end tells the month.
by_month as (
    select
        e.state_no,
        e.month_on,
        e.version_no,
        e.level as paid_so_far,
        e.oldest_unpaid,
        e.principal_repaid,
        e.dpd as dpd_end,
        greatest(e.dpd, coalesce(w.dpd, 0)) as dpd_max,
        coalesce(w.due, 0) as due,
        coalesce(w.paid, 0) as paid,
        coalesce(w.is_payment, 0) as is_payment
    from shares as e
    left join within as w on e.state_no = w.state_no and e.month_on = w.month_on
    where e.is_end
),

-- Each version with what holds until its end, and what the next one does away with.
plans as (
    select
        *,
        sum(held) over until_now as held_so_far,
        sum(held_principal) over until_now as held_principal_so_far,
        sum(held_principal) over until_now + void_principal as principal_in_all
    from (
        select
            v.state_no,
            v.version_no,
            v.in_force_month,
            v.all_told,
            v.valid_from is not null as is_scheduled,
            coalesce(sum(case when not s.is_void then s.amount end), 0) as held,
            coalesce(sum(case when not s.is_void then s.principal end), 0) as held_principal,
            coalesce(sum(case when s.is_void then s.principal end), 0) as void_principal,
            coalesce(max(case when s.is_void then 1 end), 0) = 1 as has_void
        from versions as v
        left join scheduled as s on v.state_no = s.state_no and v.version_no = s.version_no
        group by v.state_no, v.version_no, v.in_force_month, v.all_told, v.valid_from
    ) as of_version
    window until_now as (
        partition by state_no order by version_no rows between unbounded preceding and current row
    )
),

told as (
    select
        m.*,
        p.in_force_month,
        p.all_told,
        p.is_scheduled,
        p.principal_in_all,
        p.held_so_far,
        p.has_void,
        s.source,
        s.loan_no,
        s.loan_id,
        s.known_month,
        s.original_amount,
        s.limit_amount,
        m.dpd_end >= {{ by_source('default_dpd_min', 's.source') }} as is_overdue,
        cast(coalesce({{ by_source('default_arrears_min', 's.source') }}, 0) as decimal(18, 2)) as default_arrears_min
    from by_month as m
    inner join states as s on m.state_no = s.state_no
    inner join plans as p on m.state_no = p.state_no and m.version_no = p.version_no
),

-- Where all that holds until its end is paid, a version that is done away with may have more to pay.
void as (
    select
        s.state_no,
        s.version_no,
        s.principal,
        p.held_so_far + sum(s.amount) over until_now as due_so_far,
        p.held_principal_so_far + sum(s.principal) over until_now as principal_so_far
    from scheduled as s
    inner join plans as p on s.state_no = p.state_no and s.version_no = p.version_no
    where s.is_void
    window until_now as (
        partition by s.state_no, s.version_no order by s.due_on, s.instalment_no
        rows between unbounded preceding and current row
    )
),

void_unpaid as (
    select
        t.state_no,
        t.month_on,
        min(u.principal_so_far - u.principal + greatest(t.paid_so_far - u.due_so_far + u.principal, 0)) as principal_repaid
    from told as t
    inner join void as u on t.state_no = u.state_no and t.version_no = u.version_no
    where t.has_void and t.paid_so_far >= t.held_so_far and u.due_so_far > t.paid_so_far
    group by t.state_no, t.month_on
),

-- Null where nothing of the schedule in force is unpaid.
repaid as (
    select
        t.*,
        case
            when not t.is_scheduled then 0
            when t.paid_so_far < t.held_so_far then t.principal_repaid
            else u.principal_repaid
        end as repaid
    from told as t
    left join void_unpaid as u on t.state_no = u.state_no and t.month_on = u.month_on
),

-- From the month in which it is known on: a write-off that is told late leaves the months before as they were.
written_off as (
    select loan_no, min(visible_month) as from_month
    from {{ ref('int_ledger_events') }}
    where kind = 'write_off'
    group by loan_no
),

-- The amount in arrears is asked for only where a default depends on it.
arrears as (
    select t.state_no, t.month_on, sum(s.amount) - max(t.paid_so_far) as amount
    from told as t
    inner join scheduled as s on t.state_no = s.state_no
    where t.is_overdue and t.default_arrears_min > 0 and not s.is_void and s.due_on <= t.month_on
    group by t.state_no, t.month_on
)

select
    t.source,
    t.loan_id,
    t.month_on,
    {{ add_days('greatest(t.month_on, t.known_month)', by_source('feature_lag_days', 't.source')) }} as known_on,
    {{ add_days('r.superseded_month', by_source('feature_lag_days', 't.source')) }} as superseded_on,
    cast(t.dpd_max as integer) as dpd_max,
    cast(t.dpd_end as integer) as dpd_end,
    cast(t.due as decimal(18, 2)) as due,
    cast(t.paid as decimal(18, 2)) as paid,
    cast(
        case
            when not t.is_scheduled then coalesce(t.original_amount, 0)
            when t.repaid is null then 0
            when t.all_told then greatest(coalesce(t.original_amount, t.principal_in_all) - t.repaid, 0)
            else t.principal_in_all - t.repaid
        end as decimal(18, 2)
    ) as balance,
    t.limit_amount,
    (t.is_overdue and (t.default_arrears_min = 0 or a.amount >= t.default_arrears_min)) or w.loan_no is not null as is_default,
    w.loan_no is not null as is_written_off,
    t.repaid is null as is_closed
from repaid as t
left join revised as r on t.state_no = r.state_no and t.month_on = r.month_on
left join arrears as a on t.state_no = a.state_no and t.month_on = a.month_on
left join written_off as w on t.loan_no = w.loan_no and t.month_on >= w.from_month
-- A closed loan has no more rows, unless something happens to it.
where t.repaid is not null or t.is_payment = 1 or t.month_on = t.in_force_month
