-- The versions of the schedule that a state of a loan's knowledge knows. What holds of a version are its instalments
-- that are due before the next one begins (`next_from`); it is in force at the month-ends from `in_force_month` until
-- the next one is. Until a loan has a schedule it has a version without one: its `valid_from` is null.
with delivered as (
    select
        loan_no,
        valid_from,
        month_on,
        visible_month,
        gone_month,
        min(case when is_told then 1 else 0 end) as is_told
    from {{ ref('int_ledger_instalments') }}
    group by loan_no, valid_from, month_on, visible_month, gone_month
),

known as (
    select
        s.state_no,
        s.loan_no,
        s.known_month,
        d.valid_from,
        d.month_on as in_force_month,
        min(d.is_told) as is_told
    from {{ ref('int_ledger_states') }} as s
    inner join delivered as d on s.loan_no = d.loan_no
    where {{ is_seen('d', 's') }}
    group by s.state_no, s.loan_no, s.known_month, d.valid_from, d.month_on
    union all
    select state_no, loan_no, known_month, cast(null as date), opening_month, 1
    from {{ ref('int_ledger_states') }}
),

numbered as (
    select
        *,
        cast(row_number() over in_order as integer) as version_no,
        lead(valid_from) over in_order as next_from,
        lead(in_force_month) over in_order as next_in_force_month,
        min(is_told) over (
            partition by state_no order by in_force_month, valid_from nulls first
            rows between unbounded preceding and current row
        ) = 1 as all_told
    from known
    window in_order as (partition by state_no order by in_force_month, valid_from nulls first)
)

select
    state_no,
    version_no,
    loan_no,
    known_month,
    valid_from,
    next_from,
    in_force_month,
    -- another version of the same month is in force at its end
    coalesce(next_in_force_month > in_force_month, true) as is_ever_in_force,
    all_told
from numbered
