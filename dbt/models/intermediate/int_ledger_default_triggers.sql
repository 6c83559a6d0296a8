-- What the days of a ledger loan say of its default, as all of it is known now: stretches of days, and events.
--
--   past_due      arrears have been at or above both thresholds for more days on end than the policy allows
--   behind        more days past due than a cure allows
--   closed        nothing is owed
--   restructured  the terms were changed; distressed_restructuring: and that lost more of the present value than is allowed
--   written_off   the lender has given it up
--
-- No day is visited: sums only change on days on which something is paid, falls due, becomes old or is planned anew, so
-- the stretches between are rows. More than k days past due, first in, first out, is nothing but this: what fell due
-- more than k days before is not all paid. Amounts are past due from the day after they are due.
{{ config(
    materialized='batches',
    meta={'loans_of': 'int_ledger_to_rebuild', 'grows': true},
    pre_hook="{{ delete_for_rebuild('int_ledger_to_rebuild', whole=true) }}",
) }}

{%- set cure = default_policy().cure %}
{%- set nothing = 'cast(0 as decimal(18, 2))' %}
{%- set rate = 'coalesce(cast(l.annual_rate as double), ' ~ portfolio_policy().loss.discount_rate ~ ')' %}
{%- set years = days_between('e.occurred_on', 's.due_on') ~ ' / 365.0' %}
{%- set worth = 'cast(s.amount * power(1 + ' ~ rate ~ ' / 12, -12 * ' ~ years ~ ') as decimal(28, 6))' %}

with loans as (
    select
        l.*,
        r.reported_month,
        {{ by_source('default_dpd_min', 'l.source') }} as default_dpd_min,
        cast({{ by_source('materiality_amount', 'l.source') }} as decimal(18, 2)) as materiality_amount,
        cast({{ by_source('materiality_share', 'l.source') }} as decimal(9, 6)) as materiality_share,
        cast({{ by_source('value_lost_max', 'l.source') }} as double) as value_lost_max
    from {{ ref('int_ledger_loans') }} as l
    inner join {{ ref('int_ledger_reported') }} as r on l.source = r.source
    where {{ in_batch('l.loan_id') }}
),

events as (
    select * from {{ ref('int_ledger_events') }}
),

-- So many days on end lie in so many months that have a day past due, and over so many of their ends; few loans have
-- those.
past_due as (
    select source, loan_id, count(*) as months, count(case when dpd_end > 0 then 1 end) as month_ends
    from {{ ref('int_ledger_loan_months') }}
    where superseded_on is null and dpd_max > 0 and {{ in_batch('loan_id') }}
    group by source, loan_id
),

candidates as (
    select l.*
    from loans as l
    left join past_due as p on l.source = p.source and l.loan_id = p.loan_id
    where (p.months * 31 > l.default_dpd_min and p.month_ends >= floor((l.default_dpd_min + 1) / 31)) or l.loan_no in (select loan_no from events)
),

-- Of what was corrected the newest version counts, and that it was is known when it was.
delivered as (
    select
        c.loan_no,
        c.opened_on,
        i.valid_from,
        i.due_on,
        i.amount,
        greatest(i.known_on, c.known_on, coalesce(i.superseded_on, i.known_on)) as known_on,
        i.superseded_on is null as is_newest
    from {{ ref('stg_schedules') }} as i
    inner join candidates as c on i.source = c.source and i.loan_id = c.loan_id
    where {{ in_batch('i.loan_id') }}
),

versions as (
    select
        *,
        lead(valid_from) over (partition by loan_no order by valid_from) as next_from
    from (
        select loan_no, opened_on, valid_from, max(known_on) as known_on
        from delivered
        group by loan_no, opened_on, valid_from
    ) as found
),

-- `is_void`: the next version does away with it.
scheduled as (
    select
        d.loan_no,
        d.opened_on,
        d.valid_from,
        d.due_on,
        d.amount,
        coalesce(d.due_on >= v.next_from, false) as is_void
    from delivered as d
    inner join versions as v on d.loan_no = v.loan_no and d.valid_from = v.valid_from
    where d.is_newest and d.due_on >= d.valid_from
),

plans as (
    select
        v.loan_no,
        v.opened_on,
        v.valid_from,
        v.known_on,
        coalesce(sum(case when not s.is_void then s.amount end), 0) as held,
        coalesce(sum(case when s.is_void then s.amount end), 0) as void
    from versions as v
    left join scheduled as s on v.loan_no = s.loan_no and v.valid_from = s.valid_from
    group by v.loan_no, v.opened_on, v.valid_from, v.known_on
),

-- What changes on a day. The balance that arrears are a share of is that of the month-end before.
changes as (
    select
        loan_no, opened_on as day, {{ nothing }} as due, {{ nothing }} as old_due, {{ nothing }} as paid,
        {{ nothing }} as planned, 0 as versions, coalesce(original_amount, 0) as balance, known_on
    from candidates
    union all
    select c.loan_no, {{ add_days('m.month_on', '1') }}, 0, 0, 0, 0, 0, m.balance, null
    from {{ ref('int_ledger_loan_months') }} as m
    inner join candidates as c on m.source = c.source and m.loan_id = c.loan_id
    where m.superseded_on is null and {{ in_batch('m.loan_id') }}
    union all
    select loan_no, greatest({{ add_days('due_on', '1') }}, opened_on), amount, 0, 0, 0, 0, null, null
    from scheduled
    where not is_void
    union all
    select loan_no, greatest({{ add_days('due_on', cure.dpd_max ~ ' + 1') }}, opened_on), 0, amount, 0, 0, 0, null, null
    from scheduled
    where not is_void
    union all
    select
        c.loan_no,
        greatest(p.paid_on, c.opened_on),
        0, 0,
        case when p.superseded_on is null then p.amount else 0 end,
        0, 0, null,
        greatest(p.known_on, c.known_on, coalesce(p.superseded_on, p.known_on))
    from {{ ref('stg_payments') }} as p
    inner join candidates as c on p.source = c.source and p.loan_id = c.loan_id
    where {{ in_batch('p.loan_id') }}
    union all
    select
        loan_no,
        greatest(valid_from, opened_on),
        0, 0, 0,
        held + void - coalesce(lag(void) over (partition by loan_no order by valid_from), 0),
        1,
        null,
        known_on
    from plans
    union all
    select loan_no, occurred_on, 0, 0, 0, 0, 0, null, known_on
    from events
),

days as (
    select
        c.loan_no,
        c.day,
        sum(c.due) as due,
        sum(c.old_due) as old_due,
        sum(c.paid) as paid,
        sum(c.planned) as planned,
        sum(c.versions) as versions,
        max(c.balance) as balance,
        max(c.known_on) as known_on
    from changes as c
    inner join candidates as l on c.loan_no = l.loan_no
    where c.day <= l.reported_month
    group by c.loan_no, c.day
),

sums as (
    select
        loan_no,
        day,
        {{ add_days('lead(day) over by_day', '-1') }} as until_on,
        sum(due) over by_day as due,
        sum(old_due) over by_day as old_due,
        sum(paid) over by_day as paid,
        sum(planned) over by_day as planned,
        sum(versions) over by_day as versions,
        {{ ignoring_nulls('last_value', 'balance') }} over by_day as balance,
        max(known_on) over by_day as known_on
    from days
    window by_day as (partition by loan_no order by day)
),

flagged as (
    select
        s.loan_no,
        s.day,
        coalesce(s.until_on, l.reported_month) as until_on,
        s.known_on,
        s.due,
        s.paid,
        s.due > s.paid and s.due - s.paid >= greatest(l.materiality_amount, l.materiality_share * s.balance) as is_material,
        s.old_due > s.paid as is_behind,
        s.versions > 0 and s.paid >= s.planned as is_closed
    from sums as s
    inner join candidates as l on s.loan_no = l.loan_no
),

-- What is still to be paid by the plan that a change of terms does away with, and by the one that begins on its day, both
-- worth what they are on that day at the agreed rate, which is compounded monthly. Decimals add up alike in any order.
present_values as (
    select
        e.loan_no,
        e.occurred_on,
        sum(case when s.valid_from < e.occurred_on then {{ worth }} end) as of_before,
        sum(case when s.valid_from = e.occurred_on then {{ worth }} end) as of_after
    from events as e
    inner join candidates as l on e.loan_no = l.loan_no
    inner join versions as v on e.loan_no = v.loan_no and v.next_from = e.occurred_on
    inner join scheduled as s
        on v.loan_no = s.loan_no
        and s.valid_from in (v.valid_from, v.next_from)
        and s.due_on >= e.occurred_on
    where e.kind = 'restructured'
    group by e.loan_no, e.occurred_on
),

-- Arrears are in both: they stay due. Of a loan that owes nothing the terms do not matter.
restructured as (
    select
        e.loan_no,
        e.occurred_on,
        max(n.known_on) as known_on,
        max(
            case
                when p.of_before + n.due - n.paid > 0
                    then {{ stored(ratio('p.of_before - coalesce(p.of_after, 0)', 'p.of_before + n.due - n.paid')) }}
            end
        ) as value_lost
    from events as e
    inner join flagged as n on e.loan_no = n.loan_no and e.occurred_on = n.day
    left join present_values as p on e.loan_no = p.loan_no and e.occurred_on = p.occurred_on
    where e.kind = 'restructured' and not n.is_closed
    group by e.loan_no, e.occurred_on
),

-- Rows of a stretch have the same number of rows before them that are not of one.
numbered as (
    select
        *,
        count(case when not is_material then 1 end) over by_day as material_no,
        count(case when not is_behind then 1 end) over by_day as behind_no,
        count(case when not is_closed then 1 end) over by_day as closed_no
    from flagged
    window by_day as (partition by loan_no order by day)
),

material as (
    select
        n.loan_no,
        n.day,
        n.until_on,
        n.known_on,
        n.material_no,
        {{ add_days('min(n.day) over (partition by n.loan_no, n.material_no)', 'c.default_dpd_min') }} as from_on
    from numbered as n
    inner join candidates as c on n.loan_no = c.loan_no
    where n.is_material
),

signs as (
    select
        loan_no,
        'past_due' as kind,
        from_on,
        max(until_on) as until_on,
        max(case when day <= from_on then known_on end) as known_on,
        cast(null as double) as value_lost
    from material
    group by loan_no, material_no, from_on
    having max(until_on) >= from_on
    {%- for kind in ['behind', 'closed'] %}
    union all
    select loan_no, '{{ kind }}', min(day), max(until_on), min(known_on), null
    from numbered
    where is_{{ kind }}
    group by loan_no, {{ kind }}_no
    {%- endfor %}
    union all
    select
        r.loan_no,
        case when r.value_lost > l.value_lost_max then 'distressed_restructuring' else 'restructured' end,
        r.occurred_on,
        r.occurred_on,
        r.known_on,
        r.value_lost
    from restructured as r
    inner join candidates as l on r.loan_no = l.loan_no
    union all
    select e.loan_no, 'written_off', min(e.occurred_on), min(e.occurred_on), min(n.known_on), null
    from events as e
    inner join numbered as n on e.loan_no = n.loan_no and e.occurred_on = n.day
    where e.kind = 'write_off'
    group by e.loan_no
)

select
    l.source,
    l.loan_id,
    s.kind,
    s.from_on,
    s.until_on,
    greatest(s.known_on, s.from_on) as known_on,
    s.value_lost
from signs as s
inner join loans as l on s.loan_no = l.loan_no
-- Without one of these there is no default that the others could end or hold.
where s.loan_no in (select t.loan_no from signs as t where t.kind in ('past_due', 'distressed_restructuring', 'written_off'))
