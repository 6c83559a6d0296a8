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

-- kind 0: an instalment; 1: a paying day; 2: a month-end. Instalments after the plan's months are of no month.
entries as (
    select
        p.plan_no,
        i.due_on as day,
        0 as kind,
        i.instalment_no,
        case when i.due_on <= p.last_month then last_day(i.due_on) end as month_on,
        i.amount as due,
        i.principal,
        cast(0 as decimal(18, 2)) as paid
    from {{ ref('int_ledger_plans') }} as p
    inner join {{ ref('int_ledger_instalments') }} as i
        on p.source = i.source and p.loan_id = i.loan_id and p.valid_from = i.valid_from
    where i.visible_month <= greatest(p.known_month, i.month_on)
        and i.due_on >= p.valid_from
        and (p.due_before is null or i.due_on < p.due_before)
    union all
    select
        p.plan_no,
        y.paid_on,
        1,
        0,
        y.month_on,
        0,
        0,
        cast(sum(y.amount) as decimal(18, 2))
    from plans as p
    inner join {{ ref('int_ledger_payments') }} as y on p.source = y.source and p.loan_id = y.loan_id
    where y.visible_month <= greatest(p.known_month, y.month_on) and y.month_on <= p.last_month
    group by p.plan_no, y.paid_on, y.month_on
    union all
    select plan_no, month_on, 2, 0, month_on, 0, 0, 0 from months
),

cumulated as (
    select
        plan_no,
        kind,
        month_on,
        -- the eve of a month's first day is the month-end before, which has its own probe
        case kind when 2 then day when 1 then case when day(day) > 1 then {{ add_days('day', '-1') }} end end as probe_on,
        case when kind = 0 then day end as due_on,
        due,
        principal,
        paid,
        cast(sum(due) over until_now as decimal(18, 2)) as due_so_far,
        cast(sum(principal) over until_now as decimal(18, 2)) as principal_so_far,
        cast(sum(paid) over until_now as decimal(18, 2)) as paid_so_far
    from entries
    window until_now as (
        partition by plan_no order by day, kind, instalment_no rows between unbounded preceding and current row
    )
),

levelled as (
    select
        *,
        case kind when 0 then due_so_far when 1 then paid_so_far - paid else paid_so_far end as level,
        case when kind = 0 then due_so_far - principal end as principal_begins,
        case when kind = 0 then principal_so_far - principal end as principal_before,
        case when kind = 0 then principal_so_far end as principal_until
    from cumulated
),

merged as (
    select
        plan_no,
        kind,
        month_on,
        probe_on,
        due,
        paid,
        due_so_far - paid_so_far as arrears,
        paid_so_far,
        min(due_on) over unpaid as oldest_unpaid,
        min(principal_begins) over unpaid as principal_begins,
        min(principal_before) over unpaid as principal_before,
        max(principal_until) over unpaid as principal_until
    from levelled
    window unpaid as (
        partition by plan_no
        order by level desc, case when kind = 0 then 1 else 0 end
        rows between unbounded preceding and current row
    )
),

by_month as (
    select
        plan_no,
        month_on,
        sum(due) as due,
        sum(paid) as paid,
        count(case when kind = 1 then 1 end) as paying_days,
        max(case when kind <> 0 and oldest_unpaid < probe_on then {{ days_between('oldest_unpaid', 'probe_on') }} else 0 end) as dpd_max,
        max(case when kind = 2 and oldest_unpaid < probe_on then {{ days_between('oldest_unpaid', 'probe_on') }} else 0 end) as dpd_end,
        max(case when kind = 2 then arrears end) as arrears,
        max(case when kind = 2 then paid_so_far end) as paid_so_far,
        max(case when kind = 2 then oldest_unpaid end) as oldest_unpaid,
        max(case when kind = 2 then principal_begins end) as principal_begins,
        max(case when kind = 2 then principal_before end) as principal_before,
        max(case when kind = 2 then principal_until end) as principal_until
    from merged
    where month_on is not null
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
        p.valid_from is not null and m.oldest_unpaid is null as is_closed
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
            when t.oldest_unpaid is null then coalesce(t.original_amount, 0)
            else
                greatest(
                    coalesce(case when t.is_told then t.original_amount end, t.principal_until)
                    - t.principal_before
                    - greatest(t.paid_so_far - t.principal_begins, 0),
                    0
                )
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
