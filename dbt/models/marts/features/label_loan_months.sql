-- The outcome of each matured observation; an observation that has not matured has no row. Rows that a model may not
-- learn from or be judged on are kept, with the reason.
--
-- The months are as known now. An observation is a month that was also known on time. It counts as in default if either
-- the knowledge at that time or the knowledge of now says so. It matures with the month at the end of its horizon. Each
-- build recomputes the observations whose horizon ends in a rebuilt month, and all outcomes that sources report
-- themselves.
{{ config(
    materialized='batches',
    meta={'loans_of': 'int_observations_to_rebuild', 'batch_size': 3, 'grows': true},
    pre_hook=[
        "{{ delete_for_rebuild(
            'int_observations_to_rebuild',
            condition=month_index('month_on') ~ ' + horizon_months >= ' ~ month_index('to_rebuild.from_month')
        ) }}",
        "{{ delete_for_rebuild_where(by_source('label_horizon_months') ~ ' is null') }}",
    ],
) }}

-- one row per loan and month, as known now
with now_known as (
    select
        months.source,
        months.loan_id,
        months.month_on,
        {{ month_index('months.month_on') }} as month_no,
        months.known_on,
        months.balance,
        months.state,
        months.is_default,
        {{ observed_on('months.month_on', 'months.source') }} as visible_on,
        to_rebuild.from_month
    from {{ ref('int_loan_months') }} as months
    left join {{ ref('int_observations_to_rebuild') }} as to_rebuild
        on months.source = to_rebuild.source and months.loan_id = to_rebuild.loan_id
    where months.superseded_on is null
        and {{ in_batch('months.loan_id') }}
        and (to_rebuild.loan_id is not null or {{ by_source('label_horizon_months', 'months.source') }} is null)
),

-- one row per loan and month that was known in another version on its day of observation; there are few
older as (
    select source, loan_id, month_on, is_default
    from {{ ref('int_loan_months') }}
    where superseded_on is not null
        and known_on <= {{ observed_on('month_on') }}
        and {{ in_batch('loan_id') }}
),

-- one row per loan and month
months as (
    select
        now_known.source,
        now_known.loan_id,
        now_known.month_on,
        now_known.month_no,
        now_known.known_on,
        now_known.visible_on,
        now_known.from_month,
        now_known.balance,
        now_known.state,
        now_known.is_default,
        now_known.known_on <= now_known.visible_on or older.loan_id is not null as is_observed,
        now_known.is_default or coalesce(older.is_default, false) as in_default
    from now_known
    left join older
        on now_known.source = older.source
        and now_known.loan_id = older.loan_id
        and now_known.month_on = older.month_on
),

-- one row per outcome that a source reports itself
reported_outcomes as (
    select
        outcomes.source,
        outcomes.loan_id,
        outcomes.observed_on as month_on,
        outcomes.horizon_months,
        outcomes.defaulted as label,
        case
            when not coalesce(months.is_observed, false) then 'no_observation'
            when months.in_default then 'in_default'
        end as exclusion_reason,
        outcomes.known_on
    from {{ ref('stg_outcomes') }} as outcomes
    left join months
        on outcomes.source = months.source
        and outcomes.loan_id = months.loan_id
        and outcomes.observed_on = months.month_on
    where {{ in_batch('outcomes.loan_id') }} and {{ by_source('label_horizon_months', 'outcomes.source') }} is null
),

-- one row per loan of a source whose labels come from later months: a default that starts within the horizon
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

-- one row per month of the few loans that need a window: loans that were ever in default or have missing months
looked_at as (
    select
        months.source,
        months.loan_id,
        months.month_on,
        row_number() over (partition by months.source, months.loan_id order by months.month_on) as month_of_loan,
        -- a loan may leave default and enter it again
        min(case when months.is_default then months.month_no end) over (
            partition by months.source, months.loan_id
            order by months.month_on
            rows between 1 following and unbounded following
        ) as next_default_no
    from months
    inner join loans on months.source = loans.source and months.loan_id = loans.loan_id
    where loans.has_defaulted or loans.has_gaps
),

-- one row per loan and month, with its number within the loan and its horizon
numbered as (
    select
        months.*,
        loans.last_month_no,
        loans.has_closed,
        coalesce(looked_at.month_of_loan, months.month_no - loans.first_month_no + 1) as month_of_loan,
        looked_at.next_default_no,
        {{ by_source('label_horizon_months', 'months.source') }} as label_horizon_months
    from months
    inner join loans on months.source = loans.source and months.loan_id = loans.loan_id
    left join looked_at
        on months.source = looked_at.source
        and months.loan_id = looked_at.loan_id
        and months.month_on = looked_at.month_on
),

-- One row per source and reported month. A ledger source has one row, its last month, and has also reported all months
-- before it. Other sources have reported the months for which they have statements.
reported as (
    select source, {{ month_index('reported_month') }} as month_no, true as and_before
    from {{ ref('int_ledger_reported') }}
    union all
    select source, {{ month_index('month_on') }}, false
    from {{ ref('int_loan_months') }}
    where superseded_on is null and arrears_basis <> 'ledger'
    group by source, month_on
),

-- one row per observation with a late month in its horizon; its outcome is known once all these months are
delayed as (
    select numbered.source, numbered.loan_id, numbered.month_on, max(months.known_on) as known_on
    from numbered
    inner join months
        on numbered.source = months.source
        and numbered.loan_id = months.loan_id
        and months.month_no between numbered.month_no and numbered.month_no + numbered.label_horizon_months
    where months.known_on > months.visible_on
    group by numbered.source, numbered.loan_id, numbered.month_on
),

-- one row per matured observation
seen as (
    select
        numbered.source,
        numbered.loan_id,
        numbered.month_on,
        cast(numbered.label_horizon_months as integer) as horizon_months,
        case
            when numbered.next_default_no <= numbered.month_no + numbered.label_horizon_months then 1
            else 0
        end as label,
        case
            when not numbered.is_observed then 'no_observation'
            when numbered.in_default then 'in_default'
            when numbered.balance <= 0 then 'zero_exposure'
            when numbered.last_month_no < numbered.month_no + numbered.label_horizon_months
                and not numbered.has_closed
                and numbered.next_default_no is null
                then 'lost_sight'
        end as exclusion_reason,
        greatest(
            {{ observed_on(
                'last_day(' ~ add_months('numbered.month_on', 'numbered.label_horizon_months') ~ ')', 'numbered.source'
            ) }},
            coalesce(delayed.known_on, numbered.month_on)
        ) as known_on
    from numbered
    -- matured: the whole horizon has been reported
    inner join reported
        on numbered.source = reported.source
        and (
            reported.month_no = numbered.month_no + numbered.label_horizon_months
            or (
                reported.and_before
                and reported.month_no > numbered.month_no + numbered.label_horizon_months
            )
        )
    left join delayed
        on numbered.source = delayed.source
        and numbered.loan_id = delayed.loan_id
        and numbered.month_on = delayed.month_on
    where numbered.month_of_loan >= {{ by_source('observe_from_month', 'numbered.source') }}
        and numbered.month_no + numbered.label_horizon_months >= {{ month_index('numbered.from_month') }}
)

select * from reported_outcomes
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
