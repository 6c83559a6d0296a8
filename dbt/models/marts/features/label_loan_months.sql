-- What became of an observation, once it is known; an observation that has not matured has no row here. Rows that a
-- model may not learn from, or be judged on, are kept with the reason.
with months as (
    select *, {{ month_index('month_on') }} as month_no from {{ ref('int_loan_months') }}
),

-- Sources that say themselves what became of a loan.
told as (
    select
        o.source,
        o.loan_id,
        o.observed_on as month_on,
        o.horizon_months,
        o.defaulted as label,
        case when m.loan_id is null then 'no_observation' when m.is_default then 'in_default' end as exclusion_reason,
        o.known_at
    from {{ ref('stg_outcomes') }} as o
    left join months as m on o.source = m.source and o.loan_id = m.loan_id and o.observed_on = m.month_on
),

-- Sources where it is seen in the months that follow: a default that starts within the horizon.
numbered as (
    select
        *,
        row_number() over (partition by source, loan_id order by month_on) as month_of_loan,
        {{ by_source('label_horizon_months') }} as horizon_months
    from months
    where {{ by_source('label_horizon_months') }} is not null
),

loans as (
    select
        source,
        loan_id,
        max(month_no) as last_month_no,
        min(case when is_default then month_no end) as default_month_no,
        max(case when state = 'closed' then 1 else 0 end) = 1 as has_closed
    from numbered
    group by source, loan_id
),

reported as (
    select source, month_no, max(known_at) as known_at
    from numbered
    group by source, month_no
),

seen as (
    select
        o.source,
        o.loan_id,
        o.month_on,
        cast(o.horizon_months as integer) as horizon_months,
        case
            when o.is_default or o.balance <= 0 then null
            when l.default_month_no > o.month_no and l.default_month_no <= o.month_no + o.horizon_months then 1
            when l.last_month_no < o.month_no + o.horizon_months and not l.has_closed and l.default_month_no is null
                then null
            else 0
        end as label,
        case
            when o.is_default then 'in_default'
            when o.balance <= 0 then 'zero_exposure'
            when l.last_month_no < o.month_no + o.horizon_months and not l.has_closed and l.default_month_no is null
                then 'lost_sight'
        end as exclusion_reason,
        r.known_at
    from numbered as o
    inner join loans as l on o.source = l.source and o.loan_id = l.loan_id
    -- matured: the whole horizon has been reported
    inner join reported as r on o.source = r.source and r.month_no = o.month_no + o.horizon_months
    where o.month_of_loan >= {{ by_source('observe_from_month', 'o.source') }}
)

select * from told
union all
select * from seen
