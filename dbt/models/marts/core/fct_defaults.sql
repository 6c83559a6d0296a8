-- Every default of a loan as it stands now, from its first day to the day that ended it.
--
-- Days that hold a default open (a trigger, too many days past due, terms that were changed) each say until when they do
-- so: the day on which a cure could be complete. Where the next such day comes later than all of these, the default
-- before is cured. Once nothing is owed, or the loan is written off, it is over.
{%- set cure = default_policy().cure %}

with signs as (
    select
        *,
        case
            when kind in ('restructured', 'distressed_restructuring') then {{ add_months('until_on', cure.months_forborne) }}
            when dated_by = 'month' then last_day({{ add_months('until_on', cure.months) }})
            else {{ add_months('until_on', cure.months) }}
        end as clear_on,
        kind in ('past_due', 'distressed_restructuring', 'reported') as is_trigger,
        -- stretches in which nothing is owed, so far
        count(case when kind = 'closed' then 1 end) over (partition by source, loan_id order by from_on) as closed_no
    from {{ ref('int_default_triggers') }}
),

written_off as (
    select source, loan_id, dated_by, min(from_on) as written_off_on, min(known_on) as known_on
    from signs
    where kind = 'written_off'
    group by source, loan_id, dated_by
),

settled as (
    select source, loan_id, closed_no, min(from_on) as settled_on
    from signs
    where kind = 'closed'
    group by source, loan_id, closed_no
),

holding as (
    select
        s.*,
        max(s.clear_on) over (
            partition by s.source, s.loan_id, s.closed_no order by s.from_on, s.clear_on
            rows between unbounded preceding and 1 preceding
        ) as clear_before
    from signs as s
    left join written_off as w on s.source = w.source and s.loan_id = w.loan_id
    where s.kind not in ('closed', 'written_off') and (w.written_off_on is null or s.from_on < w.written_off_on)
),

grouped as (
    select
        *,
        count(case when from_on > clear_before then 1 end) over (
            partition by source, loan_id, closed_no order by from_on, clear_on
            rows between unbounded preceding and current row
        ) as group_no
    from holding
),

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

spells as (
    select
        b.source,
        b.loan_id,
        b.dated_by,
        b.defaulted_on,
        t.kind as trigger,
        t.known_on,
        case when t.kind = 'distressed_restructuring' then t.value_lost end as value_lost,
        case when b.clear_on <= b.reported_on then b.clear_on end as cured_on,
        s.settled_on,
        w.written_off_on
    from begun as b
    inner join (
        -- of two triggers on one day the arrears are told
        select source, loan_id, from_on, max(kind) as kind, min(known_on) as known_on, max(value_lost) as value_lost
        from grouped
        where is_trigger
        group by source, loan_id, from_on
    ) as t on b.source = t.source and b.loan_id = t.loan_id and b.defaulted_on = t.from_on
    left join settled as s on b.source = s.source and b.loan_id = s.loan_id and b.closed_no + 1 = s.closed_no
    left join written_off as w on b.source = w.source and b.loan_id = w.loan_id
),

ended as (
    select
        *,
        least(
            coalesce(written_off_on, {{ never() }}), coalesce(settled_on, {{ never() }}), coalesce(cured_on, {{ never() }})
        ) as first_end_on
    from spells
),

told as (
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
    -- a loan that is given up without having been in default is in default with that
    select w.source, w.loan_id, w.dated_by, w.written_off_on, 'written_off', w.known_on, null, w.written_off_on, 'written_off'
    from written_off as w
    left join ended as e on w.source = e.source and w.loan_id = e.loan_id and e.first_end_on = w.written_off_on
    where e.loan_id is null or e.first_end_on is null
),

numbered as (
    select
        *,
        cast(row_number() over by_day as integer) as default_no,
        coalesce(lag(ended_on) over by_day, {{ ever() }}) as ended_before
    from told
    window by_day as (partition by source, loan_id order by defaulted_on)
),

-- The plain flag holds a day earlier, so that it may stand at the month-end before.
plain as (
    select
        n.source,
        n.loan_id,
        n.default_no,
        min(m.month_on) as plain_default_on
    from numbered as n
    inner join {{ ref('int_loan_months') }} as m
        on n.source = m.source
        and n.loan_id = m.loan_id
        and m.month_on >= {{ month_end_before('last_day(n.defaulted_on)') }}
        and m.month_on > n.ended_before
        and (n.ended_by is null or n.ended_by = 'written_off' or m.month_on < n.ended_on)
    -- imputed days past due are a guess
    where m.superseded_on is null and m.arrears_basis <> 'imputed' and m.dpd_end >= {{ portfolio_policy().dpd_bad }}
    group by n.source, n.loan_id, n.default_no
)

select
    n.source,
    n.loan_id,
    n.default_no,
    n.defaulted_on,
    n.trigger,
    n.known_on,
    case when n.ended_by = 'cured' then n.ended_on end as cured_on,
    n.ended_on,
    n.ended_by,
    p.plain_default_on,
    n.value_lost,
    n.dated_by
from numbered as n
left join plain as p on n.source = p.source and n.loan_id = p.loan_id and n.default_no = p.default_no
