-- Loan months of sources that deliver a schedule and payments. Days past due are first in, first out: at a day they
-- count from the earliest instalment whose cumulative due is more than what was paid by then.
--
-- One merge instead of a join in time. What was paid by a day rises in steps; per plan, instalments stand at their
-- cumulative due and steps at what was paid by then. In falling order, steps first on ties, the instalments that stand
-- before a step are those that it leaves unpaid. While a step lasts arrears only grow, so of each month its last day is
-- the worst.
with plans as (
    select * from {{ ref('int_ledger_plans') }} where is_in_force
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

scheduled as (
    select
        p.plan_no,
        p.last_month,
        i.due_on,
        i.instalment_no,
        i.amount,
        i.principal
    from {{ ref('int_ledger_plans') }} as p
    inner join {{ ref('int_ledger_instalments') }} as i
        on p.source = i.source and p.loan_id = i.loan_id and p.valid_from = i.valid_from
    where i.visible_month <= greatest(p.known_month, i.month_on)
        and i.due_on >= p.valid_from
        and (p.due_before is null or i.due_on < p.due_before)
        and i.amount <> 0
),

instalments as (
    select
        plan_no,
        due_on,
        principal,
        cast(sum(amount) over until_now as decimal(18, 2)) as due_so_far,
        cast(sum(principal) over until_now as decimal(18, 2)) as principal_so_far
    from scheduled
    window until_now as (
        partition by plan_no order by due_on, instalment_no rows between unbounded preceding and current row
    )
),

-- Every paying day, and the first day of a plan's months.
paying_days as (
    select
        plan_no,
        day,
        max(first_month) as first_month,
        max(last_month) as last_month,
        cast(sum(amount) as decimal(18, 2)) as paid,
        max(is_payment) as is_payment
    from (
        select p.plan_no, y.paid_on as day, p.first_month, p.last_month, y.amount, 1 as is_payment
        from plans as p
        inner join {{ ref('int_ledger_payments') }} as y on p.source = y.source and p.loan_id = y.loan_id
        where y.visible_month <= greatest(p.known_month, y.month_on) and y.month_on <= p.last_month
        union all
        select plan_no, {{ add_days(month_end_before('first_month'), '1') }}, first_month, last_month, 0, 0 from plans
    ) as days
    group by plan_no, day
),

steps as (
    select
        *,
        cast(
            sum(paid) over (
                partition by plan_no order by day rows between unbounded preceding and current row
            ) as decimal(18, 2)
        ) as paid_so_far,
        {{ add_days('lead(day) over (partition by plan_no order by day)', '-1') }} as until_day
    from paying_days
),

levels as (
    select
        plan_no,
        cast(0 as tinyint) as is_instalment,
        paid_so_far as level,
        day,
        coalesce(until_day, last_month) as until_day,
        first_month,
        paid,
        is_payment,
        cast(null as date) as due_on,
        cast(null as decimal(18, 2)) as principal_begins,
        cast(null as decimal(18, 2)) as principal_before,
        cast(null as decimal(18, 2)) as principal_until
    from steps
    where until_day is null or until_day > {{ month_end_before('first_month') }}
    union all
    select
        plan_no,
        1,
        due_so_far,
        null,
        null,
        null,
        null,
        null,
        due_on,
        cast(due_so_far - principal as decimal(18, 2)),
        cast(principal_so_far - principal as decimal(18, 2)),
        principal_so_far
    from instalments
),

-- Of the instalments before a step the last is the oldest unpaid one, and the first is the last of the plan.
merged as (
    select
        plan_no,
        is_instalment,
        level,
        greatest(day, {{ add_days(month_end_before('first_month'), '1') }}) as from_day,
        until_day,
        day,
        paid,
        is_payment,
        {{ ignoring_nulls('last_value', 'due_on') }} over unpaid as oldest_unpaid,
        {{ ignoring_nulls('last_value', 'principal_begins') }} over unpaid as principal_begins,
        {{ ignoring_nulls('last_value', 'principal_before') }} over unpaid as principal_before,
        {{ ignoring_nulls('first_value', 'principal_until') }} over unpaid as principal_in_all
    from levels
    window unpaid as (
        partition by plan_no order by level desc, is_instalment rows between unbounded preceding and current row
    )
),

stretches as (
    select
        plan_no,
        level,
        day,
        until_day,
        paid,
        is_payment,
        oldest_unpaid,
        principal_in_all,
        cast(principal_before + greatest(level - principal_begins, 0) as decimal(18, 2)) as principal_repaid,
        {{ each_month_end('from_day', 'until_day') }} as month_on
    from merged
    where is_instalment = 0
),

-- A step's share of each month that it lasts in, and what is due in the month.
shares as (
    select
        plan_no,
        month_on,
        cast(0 as decimal(18, 2)) as due,
        case when day > {{ month_end_before('month_on') }} then paid else 0 end as paid,
        case when day > {{ month_end_before('month_on') }} then is_payment else 0 end as is_payment,
        cast(
            case
                when oldest_unpaid < least(until_day, month_on)
                    then {{ days_between('oldest_unpaid', 'least(until_day, month_on)') }}
                else 0
            end as integer
        ) as dpd,
        until_day >= month_on as is_end,
        case when until_day >= month_on then level end as paid_so_far,
        case when until_day >= month_on then principal_in_all end as principal_in_all,
        case when until_day >= month_on then principal_repaid end as principal_repaid
    from stretches
    union all
    select plan_no, last_day(due_on), amount, 0, 0, 0, false, null, null, null
    from scheduled
    where due_on <= last_month
),

-- Where nothing is unpaid, what is repaid is null. Months before the plan's own have no end.
by_month as (
    select
        plan_no,
        month_on,
        sum(due) as due,
        sum(paid) as paid,
        max(is_payment) as is_payment,
        max(dpd) as dpd_max,
        max(case when is_end then dpd end) as dpd_end,
        max(paid_so_far) as paid_so_far,
        max(principal_in_all) as principal_in_all,
        max(principal_repaid) as principal_repaid
    from shares
    group by plan_no, month_on
    having max(paid_so_far) is not null
),

told as (
    select
        m.*,
        p.source,
        p.loan_id,
        p.original_amount,
        p.limit_amount,
        p.is_told,
        p.known_month,
        p.in_force_month,
        m.dpd_end >= {{ by_source('default_dpd_min', 'p.source') }} as is_overdue,
        cast(coalesce({{ by_source('default_arrears_min', 'p.source') }}, 0) as decimal(18, 2)) as arrears_min,
        p.valid_from is not null and m.principal_repaid is null as is_closed
    from by_month as m
    inner join plans as p on m.plan_no = p.plan_no
),

-- The amount in arrears is asked for only where a default depends on it.
arrears as (
    select t.plan_no, t.month_on, sum(s.amount) - max(t.paid_so_far) as amount
    from told as t
    inner join scheduled as s on t.plan_no = s.plan_no
    where t.is_overdue and t.arrears_min > 0 and s.due_on <= t.month_on
    group by t.plan_no, t.month_on
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
    t.limit_amount,
    t.is_overdue and (t.arrears_min = 0 or a.amount >= t.arrears_min) as is_default,
    false as is_written_off,
    t.is_closed
from told as t
left join revised as r on t.plan_no = r.plan_no and t.month_on = r.month_on
left join arrears as a on t.plan_no = a.plan_no and t.month_on = a.month_on
-- A closed loan has no more rows, unless something happens to it.
where not t.is_closed or t.is_payment = 1 or t.month_on = t.in_force_month
