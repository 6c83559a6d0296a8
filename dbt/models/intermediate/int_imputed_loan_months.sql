-- Loan months of sources that report balances and payments but no arrears. If a statement has no due amount, it is
-- imputed: the agreed instalment, or the previous balance if that is less. Days past due follow from the due amounts,
-- first in, first out. They never make a default. Only a write-off does: the balance falls to zero by more than was
-- repaid.
--
-- Each month depends on the months before it. A statement is late if a statement of the same or a later month was known
-- before it. A late statement begins another state of knowledge of the loan, which changes the months from the
-- statement's month on. Each state has one statement per month. Nearly every loan has only one state.
with loans as (
    select * from {{ ref('stg_loans') }}
),

-- one row per version of a statement of a delivered loan; without the loan the due amount cannot be imputed
versions as (
    select
        statements.source,
        statements.loan_id,
        statements.month_on,
        statements.balance,
        statements.limit_amount,
        statements.due,
        statements.paid,
        statements.principal,
        statements.status_code,
        greatest(statements.known_on, loans.known_on) as known_on,
        statements.superseded_on,
        loans.instalment,
        loans.opening_balance
    from {{ ref('stg_statements') }} as statements
    inner join loans on statements.source = loans.source and statements.loan_id = loans.loan_id
    where {{ by_source('arrears_basis', 'statements.source', quote=true) }} = 'imputed'
        and (statements.superseded_on is null or statements.superseded_on > loans.known_on)
),

-- one row per version of a statement, with whether it is late
dated as (
    select
        *,
        min(known_on) over (
            partition by source, loan_id order by month_on desc range between unbounded preceding and current row
        ) < known_on as is_late
    from versions
),

-- one row per state of knowledge of a loan, with the day on which it begins and the first month that it changes
states as (
    select *, lead(state_known_on) over (partition by source, loan_id order by state_known_on) as next_state_known_on
    from (
        select source, loan_id, min(known_on) as state_known_on, min(month_on) as first_month
        from dated
        where not is_late
        group by source, loan_id
        union all
        select source, loan_id, known_on, min(month_on)
        from dated
        where is_late
        group by source, loan_id, known_on
    ) as found
),

-- one row per state and month: the statement that the state knows at its end. If a month's statement is on time, no
-- earlier month became known after it.
statements as (
    select
        dated.*,
        states.state_known_on,
        states.first_month,
        coalesce(
            lag(dated.balance) over (
                partition by states.source, states.loan_id, states.state_known_on order by dated.month_on
            ),
            dated.opening_balance
        ) as previous_balance
    from states
    inner join dated on states.source = dated.source and states.loan_id = dated.loan_id
    where (states.next_state_known_on is null or dated.known_on < states.next_state_known_on)
        and (dated.superseded_on is null or dated.superseded_on >= states.next_state_known_on)
),

-- one row per state and month, with the imputed due amount
marked as (
    select
        *,
        cast(
            case
                when due is not null then due
                when previous_balance <= 0 then 0
                when previous_balance < instalment then previous_balance
                else instalment
            end as decimal(18, 2)
        ) as imputed_due,
        balance = 0 and previous_balance - balance - principal > {{ by_source('write_off_min') }} as writes_off,
        -- consecutive months without a payment share this number
        count(case when paid > 0 then 1 end) over (
            partition by source, loan_id, state_known_on order by month_on
        ) as payments_so_far
    from statements
),

-- one row per state and month, with sums up to and including the month
cumulated as (
    select
        *,
        sum(imputed_due) over until_now as due_so_far,
        sum(paid) over until_now as paid_so_far,
        max(case when writes_off then 1 else 0 end) over until_now = 1 as is_written_off,
        min(case when paid = 0 then month_on end) over (
            partition by source, loan_id, state_known_on, payments_so_far order by month_on
        ) as unpaid_since
    from marked
    window until_now as (partition by source, loan_id, state_known_on order by month_on)
),

-- one row per state and month in arrears: the oldest instalment that the payments to date do not cover
oldest_unpaid as (
    select paid.source, paid.loan_id, paid.state_known_on, paid.month_on, min(due.month_on) as due_on
    from cumulated as paid
    inner join cumulated as due
        on paid.source = due.source and paid.loan_id = due.loan_id and paid.state_known_on = due.state_known_on
    where due.month_on <= paid.month_on and due.due_so_far > paid.paid_so_far
    group by paid.source, paid.loan_id, paid.state_known_on, paid.month_on
)

select
    cumulated.source,
    cumulated.loan_id,
    cumulated.month_on,
    greatest(cumulated.known_on, cumulated.state_known_on) as known_on,
    lead(cumulated.state_known_on) over (
        partition by cumulated.source, cumulated.loan_id, cumulated.month_on order by cumulated.state_known_on
    ) as superseded_on,
    cast(coalesce({{ days_between('oldest_unpaid.due_on', 'cumulated.month_on') }}, 0) as integer) as dpd,
    cumulated.imputed_due as due,
    cumulated.paid,
    cumulated.balance,
    cumulated.limit_amount,
    cumulated.status_code,
    cumulated.is_written_off as is_default,
    cumulated.is_written_off,
    cumulated.balance <= 0 and not cumulated.is_written_off as is_closed,
    coalesce(
        cumulated.paid = 0
        and cumulated.unpaid_since >= {{ by_source('deferral_from', 'cumulated.source', cast_to='date') }}
        and cumulated.unpaid_since <= {{ by_source('deferral_to', 'cumulated.source', cast_to='date') }},
        false
    ) as deferral_suspected
from cumulated
left join oldest_unpaid
    on cumulated.source = oldest_unpaid.source
    and cumulated.loan_id = oldest_unpaid.loan_id
    and cumulated.state_known_on = oldest_unpaid.state_known_on
    and cumulated.month_on = oldest_unpaid.month_on
where cumulated.month_on >= cumulated.first_month
