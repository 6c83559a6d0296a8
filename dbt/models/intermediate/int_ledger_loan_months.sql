-- Loan months of sources that deliver a schedule and payments. Days past due are first in, first out: at a day they
-- count from the earliest instalment whose cumulative due is more than what was paid by then.
--
-- One merge instead of a join in time: per plan, instalments stand at their cumulative due, and probes (each month-end
-- after its payments, and the eve of each paying day) at what was paid by then. In falling order, probes first on
-- ties, the instalments that stand before a probe are those that it has not paid. Arrears only grow between payments,
-- so the eves and the month-end hold the month's worst day.
with plans as (
    select * from {{ ref('int_ledger_plans') }} where is_in_force
),

months as (
    select plan_no, {{ each_month_end('first_month', 'last_month') }} as month_on from plans
),

-- What is known only in a later state of the loan's knowledge supersedes a month of an earlier one.
revised as (
    select
        plan_no,
        month_on,
        lead(greatest(known_month, month_on)) over (
            partition by source, loan_id, month_on order by known_month
        ) as superseded_month
    from (
        select plan_no, source, loan_id, known_month, {{ each_month_end('first_month', 'last_month') }} as month_on
        from plans
        where is_revised
    ) as told
),

-- kind 0: an instalment; 1: a paying day; 2: a month-end. Instalments after the plan's months are of no month. Rows are
-- kept narrow: there are as many as instalments, payments and months together, and they are sorted twice.
entries as (
    select
        p.plan_no,
        i.due_on as day,
        cast(0 as tinyint) as kind,
        i.instalment_no,
        case when i.due_on <= p.last_month then last_day(i.due_on) end as month_on,
        i.amount,
        i.principal
    from {{ ref('int_ledger_plans') }} as p
    inner join {{ ref('int_ledger_instalments') }} as i
        on p.source = i.source and p.loan_id = i.loan_id and p.valid_from = i.valid_from
    where i.visible_month <= greatest(p.known_month, i.month_on)
        and i.due_on >= p.valid_from
        and (p.due_before is null or i.due_on < p.due_before)
        and i.amount <> 0
    union all
    select p.plan_no, y.paid_on, 1, 0, y.month_on, cast(sum(y.amount) as decimal(18, 2)), 0
    from plans as p
    inner join {{ ref('int_ledger_payments') }} as y on p.source = y.source and p.loan_id = y.loan_id
    where y.visible_month <= greatest(p.known_month, y.month_on) and y.month_on <= p.last_month
    group by p.plan_no, y.paid_on, y.month_on
    union all
    select plan_no, month_on, 2, 0, month_on, 0, 0 from months
),

cumulated as (
    select
        *,
        sum(case when kind = 0 then amount end) over until_now as due_so_far,
        sum(case when kind = 1 then amount end) over until_now as paid_so_far,
        sum(principal) over until_now as principal_so_far
    from entries
    window until_now as (
        partition by plan_no order by day, kind, instalment_no rows between unbounded preceding and current row
    )
),

levelled as (
    select
        plan_no,
        kind,
        month_on,
        amount,
        case when kind = 0 then day end as due_on,
        -- the eve of a month's first day is the month-end before, which has its own probe
        case kind when 2 then day when 1 then case when day(day) > 1 then {{ add_days('day', '-1') }} end end as probe_on,
        cast(
            case kind when 0 then due_so_far when 1 then paid_so_far - amount else coalesce(paid_so_far, 0) end
            as decimal(18, 2)
        ) as level,
        cast(
            case when kind = 2 then coalesce(due_so_far, 0) - coalesce(paid_so_far, 0) end as decimal(18, 2)
        ) as arrears,
        cast(case when kind = 0 then due_so_far - principal end as decimal(18, 2)) as principal_begins,
        cast(case when kind = 0 then principal_so_far - principal end as decimal(18, 2)) as principal_before,
        cast(case when kind = 0 then principal_so_far end as decimal(18, 2)) as principal_until
    from cumulated
),

-- Of the instalments before a probe the last is the oldest unpaid one, and the first is the last of the plan.
merged as (
    select
        plan_no,
        kind,
        month_on,
        amount,
        probe_on,
        level,
        arrears,
        {{ ignoring_nulls('last_value', 'due_on') }} over unpaid as oldest_unpaid,
        {{ ignoring_nulls('last_value', 'principal_begins') }} over unpaid as principal_begins,
        {{ ignoring_nulls('last_value', 'principal_before') }} over unpaid as principal_before,
        {{ ignoring_nulls('first_value', 'principal_until') }} over unpaid as principal_in_all
    from levelled
    window unpaid as (
        partition by plan_no
        order by level desc, case when kind = 0 then 1 else 0 end
        rows between unbounded preceding and current row
    )
),

probed as (
    select
        plan_no,
        kind,
        month_on,
        amount,
        arrears,
        cast(
            case when oldest_unpaid < probe_on then {{ days_between('oldest_unpaid', 'probe_on') }} else 0 end as integer
        ) as dpd,
        case when kind = 2 then principal_in_all end as principal_in_all,
        case when kind = 2 then principal_before + greatest(level - principal_begins, 0) end as principal_repaid
    from merged
    where month_on is not null
),

-- Where nothing is unpaid, what is repaid is null.
by_month as (
    select
        plan_no,
        month_on,
        sum(case when kind = 0 then amount else 0 end) as due,
        sum(case when kind = 1 then amount else 0 end) as paid,
        count(case when kind = 1 then 1 end) as paying_days,
        max(dpd) as dpd_max,
        max(case when kind = 2 then dpd end) as dpd_end,
        max(arrears) as arrears,
        max(principal_in_all) as principal_in_all,
        max(principal_repaid) as principal_repaid
    from probed
    group by plan_no, month_on
    having max(kind) = 2
),

told as (
    select
        m.*,
        p.source,
        p.loan_id,
        p.original_amount,
        p.is_told,
        p.known_month,
        p.in_force_month,
        p.valid_from is not null and m.principal_repaid is null as is_closed
    from by_month as m
    inner join plans as p on m.plan_no = p.plan_no
)

select
    t.source,
    t.loan_id,
    t.month_on,
    {{ add_days('greatest(t.month_on, t.known_month)', by_source('feature_lag_days', 't.source')) }} as known_at,
    {{ add_days('r.superseded_month', by_source('feature_lag_days', 't.source')) }} as superseded_at,
    cast(t.dpd_max as integer) as dpd_max,
    cast(t.dpd_end as integer) as dpd_end,
    cast(t.due as decimal(18, 2)) as due,
    cast(t.paid as decimal(18, 2)) as paid,
    cast(
        case
            when t.is_closed then 0
            when t.principal_repaid is null then coalesce(t.original_amount, 0)
            when t.is_told then greatest(coalesce(t.original_amount, t.principal_in_all) - t.principal_repaid, 0)
            else t.principal_in_all - t.principal_repaid
        end as decimal(18, 2)
    ) as balance,
    t.dpd_end >= {{ by_source('default_dpd_min', 't.source') }}
        and t.arrears >= coalesce({{ by_source('default_arrears_min', 't.source') }}, 0) as is_default,
    false as is_written_off,
    t.is_closed
from told as t
left join revised as r on t.plan_no = r.plan_no and t.month_on = r.month_on
-- A closed loan has no more rows, unless something happens to it.
where not t.is_closed or t.paying_days > 0 or t.month_on = t.in_force_month
