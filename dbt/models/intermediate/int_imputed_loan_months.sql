-- Loan months of sources that report balances and payments, and no arrears. Where a statement has no due amount it is
-- imputed: the agreed instalment, or the balance before if that is less. Days past due follow from it first in, first out. They
-- never make a default: only a write-off does, a balance that falls to zero by more than was repaid.
with statements as (
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
        l.instalment,
        coalesce(
            lag(s.balance) over (partition by s.source, s.loan_id order by s.month_on), l.opening_balance
        ) as previous_balance
    from {{ ref('stg_statements') }} as s
    inner join {{ ref('stg_loans') }} as l on s.source = l.source and s.loan_id = l.loan_id
    where {{ by_source('arrears_basis', 's.source', quote=true) }} = 'imputed'
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
        count(case when paid > 0 then 1 end) over (partition by source, loan_id order by month_on) as payments_so_far
    from statements
),

cumulated as (
    select
        *,
        sum(imputed_due) over until_now as due_so_far,
        sum(paid) over until_now as paid_so_far,
        max(case when writes_off then 1 else 0 end) over until_now = 1 as is_written_off,
        min(case when paid = 0 then month_on end) over (
            partition by source, loan_id, payments_so_far order by month_on
        ) as unpaid_since
    from marked
    window until_now as (partition by source, loan_id order by month_on)
),

-- The oldest instalment that what was paid so far does not cover.
oldest_unpaid as (
    select p.source, p.loan_id, p.month_on, min(d.month_on) as due_on
    from cumulated as p
    inner join cumulated as d on p.source = d.source and p.loan_id = d.loan_id
    where d.month_on <= p.month_on and d.due_so_far > p.paid_so_far
    group by p.source, p.loan_id, p.month_on
)

select
    c.source,
    c.loan_id,
    c.month_on,
    c.known_at,
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
    on c.source = o.source and c.loan_id = o.loan_id and c.month_on = o.month_on
