-- Which rows a loan's months are computed from. A plan is a state of knowledge and a version of the schedule in force:
-- nearly every loan has one plan. A new version adds a plan from its month on. A row that becomes known late (after
-- the lag of its own month) adds a state from the month in which it becomes visible, and that state tells the months
-- since the row's event anew; so each plan is one plain ledger, and what was known before stays beside it.
--
-- One row a plan and schedule version that takes part in it: the version's instalments that are due from `valid_from`
-- on and before `due_before`. The row of the version in force (`is_in_force`) stands for the plan.
with loans as (
    select
        source,
        loan_id,
        original_amount,
        limit_amount,
        last_day(opened_on) as opening_month,
        {{ visible_month('opened_on', 'known_at') }} as visible_month
    from {{ ref('stg_loans') }}
    where {{ by_source('arrears_basis', quote=true) }} = 'ledger' and opened_on is not null
),

-- The last month that a source has reported: something is known of the day on which it is observed.
reported as (
    select source, {{ last_month_end(add_days('max(known_at)', "-(" ~ by_source('feature_lag_days') ~ ")")) }} as reported_month
    from (
        select source, max(known_at) as known_at from {{ ref('stg_loans') }} group by source
        union all
        select source, max(known_at) as known_at from {{ ref('stg_schedules') }} group by source
        union all
        select source, max(known_at) as known_at from {{ ref('stg_payments') }} group by source
    ) as known
    group by source
),

paid as (
    select
        source,
        loan_id,
        sum(amount) as amount,
        max(month_on) as last_month,
        max(visible_month) as visible_month
    from {{ ref('int_ledger_payments') }}
    group by source, loan_id
),

-- Versions by when they can be seen: one row each, unless parts of one became known at different times.
delivered as (
    select
        source,
        loan_id,
        valid_from,
        month_on,
        visible_month,
        sum(amount) as amount,
        min(case when is_told then 1 else 0 end) as is_told
    from {{ ref('int_ledger_instalments') }}
    group by source, loan_id, valid_from, month_on, visible_month
),

scheduled as (
    select
        source,
        loan_id,
        sum(amount) as amount,
        max(month_on) as last_month,
        max(visible_month) as visible_month
    from delivered
    group by source, loan_id
),

-- Nothing happens any more to a loan that has paid all that was ever scheduled: its months end there. A superset; what
-- is too much of it is left out where the months are computed.
spans as (
    select
        l.*,
        case
            when p.amount >= s.amount
                then least(
                    r.reported_month,
                    greatest(l.visible_month, p.last_month, p.visible_month, s.last_month, s.visible_month)
                )
            else r.reported_month
        end as last_month
    from loans as l
    inner join reported as r on l.source = r.source
    left join paid as p on l.source = p.source and l.loan_id = p.loan_id
    left join scheduled as s on l.source = s.source and l.loan_id = s.loan_id
    where l.opening_month <= r.reported_month
),

late as (
    select source, loan_id, opening_month as month_on, visible_month from loans where visible_month > opening_month
    union all
    select source, loan_id, month_on, visible_month from {{ ref('int_ledger_payments') }} where visible_month > month_on
    union all
    select source, loan_id, month_on, visible_month from delivered where visible_month > month_on
),

-- `known_month`: the state holds what was visible by then, and what is not late. It tells the months from `told_from`
-- on, until the next state knows better.
states as (
    select
        *,
        lead(known_month) over (partition by source, loan_id order by known_month) as next_known_month,
        count(*) over (partition by source, loan_id) > 1 as is_revised
    from (
        select source, loan_id, opening_month as known_month, opening_month as told_from
        from loans
        where visible_month = opening_month
        union all
        select source, loan_id, visible_month as known_month, min(month_on) as told_from
        from late
        group by source, loan_id, visible_month
    ) as found
),

versions as (
    select
        s.source,
        s.loan_id,
        s.known_month,
        d.valid_from,
        d.month_on as in_force_month,
        min(d.is_told) as is_told
    from states as s
    inner join delivered as d on s.source = d.source and s.loan_id = d.loan_id
    where d.visible_month <= greatest(s.known_month, d.month_on)
    group by s.source, s.loan_id, s.known_month, d.valid_from, d.month_on
),

-- The version in force at a month-end is the last that began by then; before the first there is none.
in_force as (
    select
        *,
        lead(in_force_month) over (partition by source, loan_id, known_month order by in_force_month) as next_in_force_month
    from (
        select source, loan_id, known_month, in_force_month, max(valid_from) as valid_from
        from (
            select source, loan_id, known_month, in_force_month, valid_from from versions
            union all
            select s.source, s.loan_id, s.known_month, l.opening_month, cast(null as date)
            from states as s
            inner join loans as l on s.source = l.source and s.loan_id = l.loan_id
        ) as begun
        group by source, loan_id, known_month, in_force_month
    ) as last_of_month
),

bounded as (
    select
        s.source,
        s.loan_id,
        s.known_month,
        s.is_revised,
        f.valid_from,
        f.in_force_month,
        l.original_amount,
        l.limit_amount,
        greatest(f.in_force_month, s.told_from) as first_month,
        least(
            l.last_month,
            coalesce({{ month_end_before('f.next_in_force_month') }}, l.last_month),
            coalesce({{ month_end_before('s.next_known_month') }}, l.last_month)
        ) as last_month
    from states as s
    inner join spans as l on s.source = l.source and s.loan_id = l.loan_id
    inner join in_force as f
        on s.source = f.source and s.loan_id = f.loan_id and s.known_month = f.known_month
),

plans as (
    select
        *,
        cast(row_number() over (order by source, loan_id, known_month, in_force_month) as integer) as plan_no
    from bounded
    where first_month <= last_month
)

select
    p.plan_no,
    cast(row_number() over (partition by p.plan_no order by v.valid_from) as integer) as version_no,
    p.source,
    p.loan_id,
    p.known_month,
    p.is_revised,
    p.in_force_month,
    p.first_month,
    p.last_month,
    p.original_amount,
    p.limit_amount,
    v.valid_from,
    lead(v.valid_from) over (partition by p.plan_no order by v.valid_from) as due_before,
    v.valid_from is null or v.valid_from = p.valid_from as is_in_force,
    min(v.is_told) over (partition by p.plan_no) = 1 as is_told
from plans as p
left join versions as v
    on p.source = v.source
    and p.loan_id = v.loan_id
    and p.known_month = v.known_month
    and v.valid_from <= p.valid_from
