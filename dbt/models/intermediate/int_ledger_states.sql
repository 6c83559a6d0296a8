-- The states of knowledge of a loan; nearly every loan has one. A row that becomes known late (after the lag of its own
-- month) adds a state from the month in which it becomes visible, and that state tells the months since the row's event
-- anew: so each state is one plain ledger, and what was known before stays beside it. A correction is such a row, and
-- what it takes away goes with it.
--
-- A state (`known_month`) holds what was visible by then, and what is not late. It tells the months from `first_month`
-- on, until the next state knows better.
with loans as (
    select * from {{ ref('int_ledger_loans') }}
),

paid as (
    select
        loan_no,
        sum(amount) as amount,
        max(month_on) as last_month,
        max(visible_month) as visible_month
    from {{ ref('int_ledger_payments') }}
    group by loan_no
),

scheduled as (
    select
        loan_no,
        sum(case when gone_month is null then amount else 0 end) as amount,
        max(month_on) as last_month,
        max(visible_month) as visible_month
    from {{ ref('int_ledger_instalments') }}
    group by loan_no
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
    inner join {{ ref('int_ledger_reported') }} as r on l.source = r.source
    left join paid as p on l.loan_no = p.loan_no
    left join scheduled as s on l.loan_no = s.loan_no
    where l.opening_month <= r.reported_month
),

late as (
    select loan_no, opening_month as month_on, visible_month from loans where visible_month > opening_month
    union all
    select loan_no, month_on, visible_month from {{ ref('int_ledger_payments') }} where visible_month > month_on
    union all
    select loan_no, month_on, visible_month from {{ ref('int_ledger_instalments') }} where visible_month > month_on
),

found as (
    select loan_no, opening_month as known_month, opening_month as first_month
    from loans
    where visible_month = opening_month
    union all
    select loan_no, visible_month as known_month, min(month_on) as first_month
    from late
    group by loan_no, visible_month
),

states as (
    select
        *,
        lead(known_month) over (partition by loan_no order by known_month) as next_known_month,
        count(*) over (partition by loan_no) > 1 as is_revised
    from found
),

bounded as (
    select
        s.loan_no,
        l.source,
        l.loan_id,
        s.known_month,
        s.is_revised,
        l.original_amount,
        l.limit_amount,
        l.opening_month,
        greatest(s.first_month, l.opening_month, l.from_month) as first_month,
        least(l.last_month, coalesce({{ month_end_before('s.next_known_month') }}, l.last_month)) as last_month
    from states as s
    inner join spans as l on s.loan_no = l.loan_no
)

select
    cast(row_number() over (order by loan_no, known_month) as integer) as state_no,
    *
from bounded
where first_month <= last_month
