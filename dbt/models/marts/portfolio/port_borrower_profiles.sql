-- What is known of a borrower with live loans, in five dimensions: credit history, ability to perform, behaviour,
-- identity, connections. What a source does not deliver is null.
with reported as (
    select source, max(month_on) as last_month, {{ year_before('max(month_on)') }} as year_before
    from {{ ref('port_exposures') }}
    group by source
),

exposures as (
    select
        e.source,
        e.borrower_id,
        max(e.month_on) as month_on,
        count(*) as live_loans,
        sum(e.balance) as balance,
        sum(case when e.is_revolving then e.balance end) as drawn,
        sum(e.limit_amount) as limit_amount,
        max(e.dpd_end) as dpd_now,
        max(case when e.is_default then 1 else 0 end) = 1 as in_default,
        max(case when e.is_forborne then 1 else 0 end) = 1 as is_forborne
    from {{ ref('port_exposures') }} as e
    inner join reported as r on e.source = r.source and e.month_on = r.last_month
    group by e.source, e.borrower_id
),

by_loan as (
    select
        m.source,
        m.loan_id,
        min(m.month_on) as first_month,
        max(m.dpd_max) as dpd_ever,
        max(case when m.dpd_max >= 30 then m.month_on end) as last_late_on,
        count(case when m.is_default then 1 end) as months_in_default,
        sum(case when m.month_on > r.year_before then m.paid end) as paid,
        sum(case when m.month_on > r.year_before then m.due end) as due,
        count(case when m.month_on > r.year_before and m.dpd_max >= 1 then 1 end) as late_months,
        count(case when m.month_on > r.year_before then 1 end) as loan_months
    from {{ ref('fct_loan_months') }} as m
    inner join reported as r on m.source = r.source
    group by m.source, m.loan_id
),

histories as (
    select
        l.source,
        l.borrower_id,
        min(l.opened_on) as first_opened_on,
        min(m.first_month) as first_month,
        max(m.dpd_ever) as dpd_ever,
        max(m.last_late_on) as last_late_on,
        sum(m.months_in_default) as months_in_default,
        sum(m.paid) as paid,
        sum(m.due) as due,
        sum(m.late_months) as late_months,
        sum(m.loan_months) as loan_months
    from by_loan as m
    inner join {{ ref('dim_loans') }} as l on m.source = l.source and m.loan_id = l.loan_id
    group by l.source, l.borrower_id
),

partners as (
    select l.source, l.borrower_id, count(distinct f.partner) as partners
    from {{ ref('stg_funding_shares') }} as f
    inner join {{ ref('dim_loans') }} as l on f.source = l.source and f.loan_id = l.loan_id
    where f.partner <> 'own'
    group by l.source, l.borrower_id
)

select
    e.source,
    e.borrower_id,
    e.month_on,
    cast({{ months_between('coalesce(h.first_opened_on, h.first_month)', 'e.month_on') }} as integer) as history_months,
    h.dpd_ever as history_dpd_ever,
    cast({{ months_between('h.last_late_on', 'e.month_on') }} as integer) as history_months_since_dpd30,
    cast(h.months_in_default as integer) as history_months_in_default,
    cast(e.balance as decimal(18, 2)) as ability_balance,
    {{ stored(ratio('e.drawn', 'e.limit_amount')) }} as ability_utilisation,
    e.is_forborne as ability_is_forborne,
    e.dpd_now as behaviour_dpd_now,
    {{ stored(ratio('h.paid', 'h.due')) }} as behaviour_pay_ratio_12m,
    {{ stored(ratio('h.late_months', 'h.loan_months')) }} as behaviour_late_share_12m,
    b.known_on as identity_known_since,
    cast(e.live_loans as integer) as connections_live_loans,
    cast(coalesce(p.partners, 0) as integer) as connections_partners,
    e.in_default
from exposures as e
inner join histories as h on e.source = h.source and e.borrower_id = h.borrower_id
left join partners as p on e.source = p.source and e.borrower_id = p.borrower_id
left join {{ ref('stg_borrowers') }} as b on e.source = b.source and e.borrower_id = b.borrower_id
