-- What is known now of the default of a loan of every source, in one shape: stretches of days, and events
-- (int_ledger_default_triggers lists the kinds). Sources that report months know the month-end and no day: `reported`
-- is a month for which the source's own status says default, and each month is a stretch of its own. `reported_on` is
-- the last day that something is known of.
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
        -- a month builds on the months before it, so that it is known once they all are
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
            -- imputed days past due are a guess
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
    -- without one of these there is no default; the first `written_off` is the day of the write-off
    and (source, loan_id) in (
        select defaulted.source, defaulted.loan_id
        from months_with_kind as defaulted
        where defaulted.kind in ('written_off', 'reported')
    )
