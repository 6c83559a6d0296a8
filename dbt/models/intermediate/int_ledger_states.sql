-- The states of knowledge of each loan; nearly every loan has only one. A row is late if it becomes known after the lag
-- of its own month. A late row begins another state in the month in which it becomes visible. The new state changes the
-- months from the row's event on. So each state is one simple ledger, and earlier knowledge is kept beside it. A
-- correction is a late row too; it also removes the corrected row from the states after it.
--
-- A state (`known_month`) contains the rows that are visible in its month, and all rows that are not late. It covers
-- the months from `first_month` until the next state begins.

-- one row per loan
with loans as (
    select * from {{ ref('int_ledger_loans') }}
),

-- one row per loan with payments
paid as (
    select
        loan_no,
        sum(amount) as amount,
        max(month_on) as last_month,
        max(visible_month) as visible_month
    from {{ ref('int_ledger_payments') }}
    group by loan_no
),

-- one row per loan with a schedule
scheduled as (
    select
        loan_no,
        sum(case when gone_month is null then amount else 0 end) as amount,
        max(month_on) as last_month,
        max(visible_month) as visible_month
    from {{ ref('int_ledger_instalments') }}
    group by loan_no
),

-- One row per loan, with its last month: nothing more happens to a loan that has paid everything that was ever
-- scheduled. This may include too many months; int_ledger_loan_months leaves them out.
spans as (
    select
        loans.*,
        case
            when paid.amount >= scheduled.amount
                then
                    least(
                        reported.reported_month,
                        greatest(
                            loans.visible_month,
                            paid.last_month,
                            paid.visible_month,
                            scheduled.last_month,
                            scheduled.visible_month
                        )
                    )
            else reported.reported_month
        end as last_month
    from loans
    inner join {{ ref('int_ledger_reported') }} as reported on loans.source = reported.source
    left join paid on loans.loan_no = paid.loan_no
    left join scheduled on loans.loan_no = scheduled.loan_no
    where loans.opening_month <= reported.reported_month
),

-- one row per late row
late as (
    select loan_no, opening_month as month_on, visible_month from loans where visible_month > opening_month
    union all
    select loan_no, month_on, visible_month from {{ ref('int_ledger_payments') }} where visible_month > month_on
    union all
    select loan_no, month_on, visible_month from {{ ref('int_ledger_instalments') }} where visible_month > month_on
),

-- one row per loan and month in which a state begins
found as (
    select loan_no, opening_month as known_month, opening_month as first_month
    from loans
    where visible_month = opening_month
    union all
    select loan_no, visible_month as known_month, min(month_on) as first_month
    from late
    group by loan_no, visible_month
),

-- one row per state
states as (
    select
        *,
        lead(known_month) over (partition by loan_no order by known_month) as next_known_month,
        count(*) over (partition by loan_no) > 1 as is_revised
    from found
),

-- one row per state, with its first and last month
bounded as (
    select
        states.loan_no,
        spans.source,
        spans.loan_id,
        states.known_month,
        states.is_revised,
        spans.original_amount,
        spans.limit_amount,
        spans.opening_month,
        greatest(states.first_month, spans.opening_month, spans.from_month) as first_month,
        least(
            spans.last_month, coalesce({{ month_end_before('states.next_known_month') }}, spans.last_month)
        ) as last_month
    from states
    inner join spans on states.loan_no = spans.loan_no
)

select
    cast(row_number() over (order by loan_no, known_month) as integer) as state_no,
    *
from bounded
where first_month <= last_month
