-- What became of an observation, once it is known; an observation that has not matured has no row here. Rows that a
-- model may not learn from, or be judged on, are kept with the reason.
-- The months are those now known; an observation is one that was also known in time, and is in default if it was so in
-- either knowledge.
-- An observation matures with the month at the end of its horizon; computed anew are those whose horizon ends in the months
-- that are, and all that sources say themselves.
{{ config(
    materialized='batches',
    meta={'loans_of': 'int_observations_to_rebuild', 'grows': true},
    pre_hook=[
        "{{ delete_for_rebuild('int_observations_to_rebuild', condition=month_index('month_on') ~ ' + horizon_months >= ' ~ month_index('to_rebuild.from_month')) }}",
        "{{ delete_for_rebuild_where(by_source('label_horizon_months') ~ ' is null') }}",
    ],
) }}

with now_known as (
    select
        m.source,
        m.loan_id,
        m.month_on,
        {{ month_index('m.month_on') }} as month_no,
        m.known_on,
        m.balance,
        m.state,
        m.is_default,
        {{ add_days('m.month_on', by_source('feature_lag_days', 'm.source')) }} as visible_on,
        w.from_month
    from {{ ref('int_loan_months') }} as m
    left join {{ ref('int_observations_to_rebuild') }} as w on m.source = w.source and m.loan_id = w.loan_id
    where m.superseded_on is null
        and {{ in_batch('m.loan_id') }}
        and (w.loan_id is not null or {{ by_source('label_horizon_months', 'm.source') }} is null)
),

-- Nearly always what is now known was known in time; where it was not, something older may have been.
older as (
    select source, loan_id, month_on, is_default
    from {{ ref('int_loan_months') }}
    where superseded_on is not null
        and known_on <= {{ add_days('month_on', by_source('feature_lag_days')) }}
        and {{ in_batch('loan_id') }}
),

months as (
    select
        n.source,
        n.loan_id,
        n.month_on,
        n.month_no,
        n.known_on,
        n.visible_on,
        n.from_month,
        n.balance,
        n.state,
        n.is_default,
        n.known_on <= n.visible_on or t.loan_id is not null as is_observed,
        n.is_default or coalesce(t.is_default, false) as in_default
    from now_known as n
    left join older as t on n.source = t.source and n.loan_id = t.loan_id and n.month_on = t.month_on
),

-- Sources that say themselves what became of a loan.
told as (
    select
        o.source,
        o.loan_id,
        o.observed_on as month_on,
        o.horizon_months,
        o.defaulted as label,
        case
            when not coalesce(m.is_observed, false) then 'no_observation'
            when m.in_default then 'in_default'
        end as exclusion_reason,
        o.known_on
    from {{ ref('stg_outcomes') }} as o
    left join months as m on o.source = m.source and o.loan_id = m.loan_id and o.observed_on = m.month_on
    where {{ in_batch('o.loan_id') }} and {{ by_source('label_horizon_months', 'o.source') }} is null
),

-- Sources where it is seen in the months that follow: a default that starts within the horizon. Windows over the months
-- of a loan are for the few that ask for one: those that were ever in default, and those with months left out.
loans as (
    select
        source,
        loan_id,
        min(month_no) as first_month_no,
        max(month_no) as last_month_no,
        max(month_no) - min(month_no) + 1 > count(*) as has_gaps,
        max(case when state = 'closed' then 1 else 0 end) = 1 as has_closed,
        max(case when is_default then 1 else 0 end) = 1 as has_defaulted
    from months
    where {{ by_source('label_horizon_months') }} is not null
    group by source, loan_id
),

looked_at as (
    select
        m.source,
        m.loan_id,
        m.month_on,
        row_number() over (partition by m.source, m.loan_id order by m.month_on) as month_of_loan,
        -- a loan may leave default and enter it again
        min(case when m.is_default then m.month_no end) over (
            partition by m.source, m.loan_id order by m.month_on rows between 1 following and unbounded following
        ) as next_default_no
    from months as m
    inner join loans as l on m.source = l.source and m.loan_id = l.loan_id
    where l.has_defaulted or l.has_gaps
),

numbered as (
    select
        m.*,
        l.last_month_no,
        l.has_closed,
        coalesce(w.month_of_loan, m.month_no - l.first_month_no + 1) as month_of_loan,
        w.next_default_no,
        {{ by_source('label_horizon_months', 'm.source') }} as label_horizon_months
    from months as m
    inner join loans as l on m.source = l.source and m.loan_id = l.loan_id
    left join looked_at as w on m.source = w.source and m.loan_id = w.loan_id and m.month_on = w.month_on
),

-- A ledger source has reported all months until its last; another one those that it has statements of.
reported as (
    select source, {{ month_index('reported_month') }} as month_no, true as and_before from {{ ref('int_ledger_reported') }}
    union all
    select source, {{ month_index('month_on') }}, false
    from {{ ref('int_loan_months') }}
    where superseded_on is null and arrears_basis <> 'ledger'
    group by source, month_on
),

-- What became of an observation is known once each month of its horizon is.
delayed as (
    select o.source, o.loan_id, o.month_on, max(l.known_on) as known_on
    from numbered as o
    inner join months as l
        on o.source = l.source and o.loan_id = l.loan_id and l.month_no between o.month_no and o.month_no + o.label_horizon_months
    where l.known_on > l.visible_on
    group by o.source, o.loan_id, o.month_on
),

seen as (
    select
        o.source,
        o.loan_id,
        o.month_on,
        cast(o.label_horizon_months as integer) as horizon_months,
        case when o.next_default_no <= o.month_no + o.label_horizon_months then 1 else 0 end as label,
        case
            when not o.is_observed then 'no_observation'
            when o.in_default then 'in_default'
            when o.balance <= 0 then 'zero_exposure'
            when o.last_month_no < o.month_no + o.label_horizon_months and not o.has_closed and o.next_default_no is null
                then 'lost_sight'
        end as exclusion_reason,
        greatest(
            {{ add_days('last_day(' ~ add_months('o.month_on', 'o.label_horizon_months') ~ ')', by_source('feature_lag_days', 'o.source')) }},
            coalesce(d.known_on, o.month_on)
        ) as known_on
    from numbered as o
    -- matured: the whole horizon has been reported
    inner join reported as r
        on o.source = r.source
        and (
            r.month_no = o.month_no + o.label_horizon_months
            or (r.and_before and r.month_no > o.month_no + o.label_horizon_months)
        )
    left join delayed as d on o.source = d.source and o.loan_id = d.loan_id and o.month_on = d.month_on
    where o.month_of_loan >= {{ by_source('observe_from_month', 'o.source') }}
        and o.month_no + o.label_horizon_months >= {{ month_index('o.from_month') }}
)

select * from told
union all
select
    source,
    loan_id,
    month_on,
    horizon_months,
    case when exclusion_reason is null then label end as label,
    exclusion_reason,
    known_on
from seen
