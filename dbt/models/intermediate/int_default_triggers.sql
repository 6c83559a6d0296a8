-- What is known of the default of a loan of every source, as it is known now, in one shape: stretches of days, and events
-- (int_ledger_default_triggers says which). Sources that report months know the month-end and no day: `reported` is a month
-- of which the source's status says that it is one of default, and each month stands for itself.
-- `reported_on` is the last day that something is known of.
{%- set cure = default_policy().cure %}

with months as (
    select
        source,
        loan_id,
        month_on,
        arrears_basis,
        state,
        is_default,
        dpd_end,
        -- what was known of the months before is known with each of them
        max(known_on) over (partition by source, loan_id order by month_on) as known_on,
        max(month_on) over (partition by source, loan_id) as reported_on
    from {{ ref('int_loan_months') }}
    where superseded_on is null and arrears_basis <> 'ledger'
),

monthly as (
    select
        *,
        case
            when state = 'written_off' then 'written_off'
            when is_default then 'reported'
            when state = 'closed' then 'closed'
            -- imputed days past due are a guess
            when arrears_basis = 'status' and dpd_end > {{ cure.dpd_max }} then 'behind'
        end as kind
    from months
)

select
    s.source,
    s.loan_id,
    s.kind,
    s.from_on,
    s.until_on,
    s.known_on,
    r.reported_month as reported_on,
    'day' as dated_by,
    s.value_lost
from {{ ref('int_ledger_default_triggers') }} as s
inner join {{ ref('int_ledger_reported') }} as r on s.source = r.source
union all
select source, loan_id, kind, month_on, month_on, known_on, reported_on, 'month', null
from monthly
where kind is not null
    -- the first of them is the day of the write-off
    and (source, loan_id) in (select d.source, d.loan_id from monthly as d where d.kind in ('written_off', 'reported'))
