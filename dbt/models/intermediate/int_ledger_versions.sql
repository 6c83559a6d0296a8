-- The versions of the schedule that each state of a loan's knowledge sees. The instalments of a version count if they
-- are due before the next version begins (`next_from`). A version is in force at the month-ends from `in_force_month`
-- until the next version is in force. Before its first schedule a loan has a version without one, whose `valid_from` is
-- null.
with delivered as (
    select
        loan_no,
        valid_from,
        month_on,
        visible_month,
        gone_month,
        min(case when has_parts then 1 else 0 end) as has_parts
    from {{ ref('int_ledger_instalments') }}
    group by loan_no, valid_from, month_on, visible_month, gone_month
),

delivered_by_state as (
    select
        states.state_no,
        states.loan_no,
        states.known_month,
        delivered.valid_from,
        delivered.month_on as in_force_month,
        min(delivered.has_parts) as has_parts
    from {{ ref('int_ledger_states') }} as states
    inner join delivered on states.loan_no = delivered.loan_no
    where {{ is_seen('delivered', 'states') }}
    group by states.state_no, states.loan_no, states.known_month, delivered.valid_from, delivered.month_on
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
        min(has_parts) over (
            partition by state_no order by in_force_month, valid_from nulls first
            rows between unbounded preceding and current row
        ) = 1 as all_have_parts
    from delivered_by_state
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
    -- another version that begins in the same month is in force at its end
    coalesce(next_in_force_month > in_force_month, true) as is_ever_in_force,
    all_have_parts
from numbered
