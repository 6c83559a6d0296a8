-- Every default of a loan as known now, from its first day to the day on which it ended. A trigger, too many days past
-- due, or changed terms keep a default open until the day on which a cure could be complete. If the next such period
-- begins after all these days, the default is cured. It also ends once nothing is owed or the loan is written off.
{%- set cure = default_policy().cure %}

-- one row per trigger, other period or event; `clear_on` is the day until which it keeps a default open
with triggers as (
    select
        *,
        case
            when kind in ('restructured', 'distressed_restructuring')
                then {{ add_months('until_on', cure.months_forborne) }}
            when dated_by = 'month' then last_day({{ add_months('until_on', cure.months) }})
            else {{ add_months('until_on', cure.months) }}
        end as clear_on,
        kind in ('past_due', 'distressed_restructuring', 'reported') as is_trigger,
        -- the number of periods so far in which nothing was owed
        count(case when kind = 'closed' then 1 end) over (partition by source, loan_id order by from_on) as closed_no
    from {{ ref('int_default_triggers') }}
),

-- one row per loan that was written off
written_off as (
    select source, loan_id, dated_by, min(from_on) as written_off_on, min(known_on) as known_on
    from triggers
    where kind = 'written_off'
    group by source, loan_id, dated_by
),

-- one row per loan and period in which nothing is owed
settled as (
    select source, loan_id, closed_no, min(from_on) as settled_on
    from triggers
    where kind = 'closed'
    group by source, loan_id, closed_no
),

-- one row per trigger or period that keeps a default open; `clear_before` is the latest `clear_on` of the rows before
holding as (
    select
        triggers.*,
        max(triggers.clear_on) over (
            partition by triggers.source, triggers.loan_id, triggers.closed_no
            order by triggers.from_on, triggers.clear_on
            rows between unbounded preceding and 1 preceding
        ) as clear_before
    from triggers
    left join written_off on triggers.source = written_off.source and triggers.loan_id = written_off.loan_id
    where triggers.kind not in ('closed', 'written_off')
        and (written_off.written_off_on is null or triggers.from_on < written_off.written_off_on)
),

-- one row per trigger or period that keeps a default open; rows of the same default share a `group_no`
grouped as (
    select
        *,
        count(case when from_on > clear_before then 1 end) over (
            partition by source, loan_id, closed_no order by from_on, clear_on
            rows between unbounded preceding and current row
        ) as group_no
    from holding
),

-- one row per default with a trigger
begun as (
    select
        source,
        loan_id,
        closed_no,
        dated_by,
        reported_on,
        min(case when is_trigger then from_on end) as defaulted_on,
        max(clear_on) as clear_on
    from grouped
    group by source, loan_id, closed_no, group_no, dated_by, reported_on
    having max(case when is_trigger then 1 else 0 end) = 1
),

-- one row per default with a trigger, with everything that could end it
spells as (
    select
        begun.source,
        begun.loan_id,
        begun.dated_by,
        begun.defaulted_on,
        first_triggers.kind as trigger,
        first_triggers.known_on,
        case when first_triggers.kind = 'distressed_restructuring' then first_triggers.value_lost end as value_lost,
        case when begun.clear_on <= begun.reported_on then begun.clear_on end as cured_on,
        settled.settled_on,
        written_off.written_off_on
    from begun
    inner join (
        -- if two triggers begin on the same day, the arrears are named
        select source, loan_id, from_on, max(kind) as kind, min(known_on) as known_on, max(value_lost) as value_lost
        from grouped
        where is_trigger
        group by source, loan_id, from_on
    ) as first_triggers
        on begun.source = first_triggers.source
        and begun.loan_id = first_triggers.loan_id
        and begun.defaulted_on = first_triggers.from_on
    left join settled
        on begun.source = settled.source
        and begun.loan_id = settled.loan_id
        and begun.closed_no + 1 = settled.closed_no
    left join written_off on begun.source = written_off.source and begun.loan_id = written_off.loan_id
),

-- one row per default with a trigger, with the first day that ended it
ended as (
    select
        *,
        least(
            coalesce(written_off_on, {{ never() }}),
            coalesce(settled_on, {{ never() }}),
            coalesce(cured_on, {{ never() }})
        ) as first_end_on
    from spells
),

-- one row per default. A loan that is written off without a default before is in default from that day.
defaults as (
    select
        source,
        loan_id,
        dated_by,
        defaulted_on,
        trigger,
        known_on,
        value_lost,
        case when first_end_on < {{ never() }} then first_end_on end as ended_on,
        case
            when first_end_on = {{ never() }} then null
            when first_end_on = written_off_on then 'written_off'
            when first_end_on = settled_on then 'settled'
            else 'cured'
        end as ended_by
    from ended
    union all
    select
        written_off.source,
        written_off.loan_id,
        written_off.dated_by,
        written_off.written_off_on,
        'written_off',
        written_off.known_on,
        null,
        written_off.written_off_on,
        'written_off'
    from written_off
    left join ended
        on written_off.source = ended.source
        and written_off.loan_id = ended.loan_id
        and ended.first_end_on = written_off.written_off_on
    where ended.loan_id is null or ended.first_end_on is null
),

-- one row per default, numbered within its loan
numbered as (
    select
        *,
        cast(row_number() over by_day as integer) as default_no,
        coalesce(lag(ended_on) over by_day, {{ ever() }}) as ended_before
    from defaults
    window by_day as (partition by source, loan_id order by defaulted_on)
),

-- one row per default that the plain month-end flag finds too. The flag needs one day less, so it may be set a
-- month-end earlier.
at_month_ends as (
    select
        numbered.source,
        numbered.loan_id,
        numbered.default_no,
        min(months.month_on) as plain_default_on
    from numbered
    inner join {{ ref('int_loan_months') }} as months
        on numbered.source = months.source
        and numbered.loan_id = months.loan_id
        and months.month_on >= {{ month_end_before('last_day(numbered.defaulted_on)') }}
        and months.month_on > numbered.ended_before
        and (
            numbered.ended_by is null
            or numbered.ended_by = 'written_off'
            or months.month_on < numbered.ended_on
        )
    -- imputed days past due are an estimate
    where months.superseded_on is null
        and months.arrears_basis <> 'imputed'
        and months.dpd_end >= {{ portfolio_policy().dpd_bad }}
    group by numbered.source, numbered.loan_id, numbered.default_no
)

select
    numbered.source,
    numbered.loan_id,
    numbered.default_no,
    numbered.defaulted_on,
    numbered.trigger,
    numbered.known_on,
    case when numbered.ended_by = 'cured' then numbered.ended_on end as cured_on,
    numbered.ended_on,
    numbered.ended_by,
    at_month_ends.plain_default_on,
    numbered.value_lost,
    numbered.dated_by
from numbered
left join at_month_ends
    on numbered.source = at_month_ends.source
    and numbered.loan_id = at_month_ends.loan_id
    and numbered.default_no = at_month_ends.default_no
