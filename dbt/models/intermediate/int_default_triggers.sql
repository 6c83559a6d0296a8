-- What is known now about the defaults of every source's loans, in one shape: periods of days, and events
-- (int_ledger_default_triggers lists the kinds). Sources that report months give month-ends and no days: `reported` is
-- a month in which the source's own status is default, and each month is a period of its own. `reported_on` is the last
-- day for which the source has reported anything.
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
        -- a month depends on the months before it, so it is known only once they all are
        max(known_on) over (partition by source, loan_id order by month_on) as known_on,
        max(month_on) over (partition by source, loan_id) as reported_on
    from {{ ref('int_loan_months') }}
    where superseded_on is null and arrears_basis <> 'ledger'
),

months_with_kind as (
    select
        *,
        case
            when state = 'written_off' then 'written_off'
            when is_default then 'reported'
            when state = 'closed' then 'closed'
            -- imputed days past due are an estimate
            when arrears_basis = 'status' and dpd_end > {{ cure.dpd_max }} then 'behind'
        end as kind
    from months
)

select
    triggers.source,
    triggers.loan_id,
    triggers.kind,
    triggers.from_on,
    triggers.until_on,
    triggers.known_on,
    reported.reported_month as reported_on,
    'day' as dated_by,
    triggers.value_lost
from {{ ref('int_ledger_default_triggers') }} as triggers
inner join {{ ref('int_ledger_reported') }} as reported on triggers.source = reported.source
union all
select source, loan_id, kind, month_on, month_on, known_on, reported_on, 'month', null
from months_with_kind
where kind is not null
    -- only these kinds make a default; the first `written_off` is the day of the write-off
    and (source, loan_id) in (
        select defaulted.source, defaulted.loan_id
        from months_with_kind as defaulted
        where defaulted.kind in ('written_off', 'reported')
    )
