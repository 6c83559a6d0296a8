-- Loan months of sources that report balances and payments, and no arrears. Where a statement has no due amount it is
-- imputed: the agreed instalment, or the balance before if that is less. Days past due follow from it first in, first out. They
-- never make a default: only a write-off does, a balance that falls to zero by more than was repaid.
--
-- A month hangs on those before it. A statement that is late (of its month, or of a later one, something was known before)
-- tells the months from its own on anew: a state of knowledge of the loan, which is one plain row of statements. Nearly
-- every loan has one.
with versions as (
    select
        s.source,
        s.loan_id,
        s.month_on,
        s.balance,
        s.limit_amount,
        s.due,
        s.paid,
        s.principal,
        s.status_code,
        -- without its loan a statement says nothing of what was due
        greatest(s.known_at, l.known_at) as known_at,
        s.superseded_at,
        l.instalment,
        l.opening_balance
    from {{ ref('stg_statements') }} as s
    inner join {{ ref('stg_loans') }} as l on s.source = l.source and s.loan_id = l.loan_id
    where {{ by_source('arrears_basis', 's.source', quote=true) }} = 'imputed'
        and (s.superseded_at is null or s.superseded_at > l.known_at)
),

dated as (
    select
        *,
        min(known_at) over (
            partition by source, loan_id order by month_on desc range between unbounded preceding and current row
        ) < known_at as is_late
    from versions
),

states as (
    select *, lead(known_on) over (partition by source, loan_id order by known_on) as next_known_on
    from (
        select source, loan_id, min(known_at) as known_on, min(month_on) as first_month
        from dated
        where not is_late
        group by source, loan_id
        union all
        select source, loan_id, known_at, min(month_on)
        from dated
        where is_late
        group by source, loan_id, known_at
    ) as found
),

-- What a state knows in the end; of a month that is told in time nothing was known later that is before it.
statements as (
    select
        d.*,
        s.known_on,
        s.first_month,
        coalesce(
            lag(d.balance) over (partition by s.source, s.loan_id, s.known_on order by d.month_on), d.opening_balance
        ) as previous_balance
    from states as s
    inner join dated as d on s.source = d.source and s.loan_id = d.loan_id
    where (s.next_known_on is null or d.known_at < s.next_known_on)
        and (d.superseded_at is null or d.superseded_at >= s.next_known_on)
),

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
        -- a run of months without a payment is known by how many payments came before it
        count(case when paid > 0 then 1 end) over (partition by source, loan_id, known_on order by month_on) as payments_so_far
    from statements
),

cumulated as (
    select
        *,
        sum(imputed_due) over until_now as due_so_far,
        sum(paid) over until_now as paid_so_far,
        max(case when writes_off then 1 else 0 end) over until_now = 1 as is_written_off,
        min(case when paid = 0 then month_on end) over (
            partition by source, loan_id, known_on, payments_so_far order by month_on
        ) as unpaid_since
    from marked
    window until_now as (partition by source, loan_id, known_on order by month_on)
),

-- The oldest instalment that what was paid so far does not cover.
oldest_unpaid as (
    select p.source, p.loan_id, p.known_on, p.month_on, min(d.month_on) as due_on
    from cumulated as p
    inner join cumulated as d on p.source = d.source and p.loan_id = d.loan_id and p.known_on = d.known_on
    where d.month_on <= p.month_on and d.due_so_far > p.paid_so_far
    group by p.source, p.loan_id, p.known_on, p.month_on
)

select
    c.source,
    c.loan_id,
    c.month_on,
    greatest(c.known_at, c.known_on) as known_at,
    lead(c.known_on) over (partition by c.source, c.loan_id, c.month_on order by c.known_on) as superseded_at,
    cast(coalesce({{ days_between('o.due_on', 'c.month_on') }}, 0) as integer) as dpd,
    c.imputed_due as due,
    c.paid,
    c.balance,
    c.limit_amount,
    c.status_code,
    c.is_written_off as is_default,
    c.is_written_off,
    c.balance <= 0 and not c.is_written_off as is_closed,
    coalesce(
        c.paid = 0 and c.unpaid_since between {{ by_source('deferral_from', 'c.source', cast_to='date') }}
            and {{ by_source('deferral_to', 'c.source', cast_to='date') }},
        false
    ) as deferral_suspected
from cumulated as c
left join oldest_unpaid as o
    on c.source = o.source and c.loan_id = o.loan_id and c.known_on = o.known_on and c.month_on = o.month_on
where c.month_on >= c.first_month
