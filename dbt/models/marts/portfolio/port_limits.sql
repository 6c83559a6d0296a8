-- The policy's limits on the newest month-end: concentration, joint lending, the price. A limit that nothing can be said
-- of has no status, and the reason beside it.
{%- set limits = portfolio_policy().limits %}
with reported as (
    select source, max(month_on) as last_month from {{ ref('port_exposures') }} group by source
),

loans as (
    select e.*
    from {{ ref('port_exposures') }} as e
    inner join reported as r on e.source = r.source and e.month_on = r.last_month
    where e.balance > 0
),

totals as (
    select
        source,
        currency,
        max(month_on) as month_on,
        sum(balance) as balance,
        max(annual_rate) as highest_rate,
        count(case when annual_rate > {{ limits.annual_rate_max }} then 1 end) as dear_loans
    from loans
    group by source, currency
),

segments as (
    select l.source, l.currency, l.product as segment, {{ ratio('sum(l.balance)', 'max(t.balance)') }} as share
    from loans as l
    inner join totals as t on l.source = t.source and l.currency = t.currency
    group by l.source, l.currency, l.product
),

borrowers as (
    select
        source,
        currency,
        sum(balance) as balance,
        row_number() over (partition by source, currency order by sum(balance) desc) as place
    from loans
    group by source, currency, borrower_id
),

largest as (
    select b.source, b.currency, {{ ratio('sum(b.balance)', 'max(t.balance)') }} as share
    from borrowers as b
    inner join totals as t on b.source = t.source and b.currency = t.currency
    where b.place <= 20
    group by b.source, b.currency
),

funded as (
    select
        l.source,
        l.currency,
        l.loan_id,
        f.partner,
        f.share,
        cast(l.balance * f.share as decimal(18, 2)) as balance
    from loans as l
    inner join {{ ref('stg_funding_shares') }} as f on l.source = f.source and l.loan_id = f.loan_id
    where f.partner <> 'own'
),

joint as (
    select
        source,
        currency,
        min(share) as smallest,
        count(case when share < {{ limits.partner_share_min }} then 1 end) as below
    from (
        select source, currency, loan_id, sum(share) as share from funded group by source, currency, loan_id
    ) as shares
    group by source, currency
),

joint_loans as (
    select l.source, l.currency, {{ ratio('sum(l.balance)', 'max(t.balance)') }} as share
    from loans as l
    inner join (select distinct source, loan_id from funded) as f on l.source = f.source and l.loan_id = f.loan_id
    inner join totals as t on l.source = t.source and l.currency = t.currency
    group by l.source, l.currency
),

partners as (
    select
        source,
        currency,
        partner,
        cast(sum(balance) as double) / {{ by_source('tier1_capital') }} as share
    from funded
    group by source, currency, partner
),

measured as (
    select
        source, currency, 'segment_share' as limit_name, segment, share as value,
        {{ limits.segment_share.amber }} as amber, {{ limits.segment_share.red }} as red, 0 as loans_beyond
    from segments
    union all
    select
        source, currency, 'top_20_share', 'all', share,
        {{ limits.top_20_share.amber }}, {{ limits.top_20_share.red }}, 0
    from largest
    union all
    select
        t.source, t.currency, 'joint_share', 'all', coalesce(j.share, 0),
        {{ limits.joint_share }}, {{ limits.joint_share }}, 0
    from totals as t
    left join joint_loans as j on t.source = j.source and t.currency = j.currency
    union all
    select
        source, currency, 'partner_to_tier1', partner, share,
        {{ limits.partner_to_tier1 }}, {{ limits.partner_to_tier1 }}, 0
    from partners
    union all
    -- of these what counts is the one loan that is beyond the limit
    select
        source, currency, 'partner_share_min', 'all', cast(smallest as double),
        {{ limits.partner_share_min }}, {{ limits.partner_share_min }}, below
    from joint
    union all
    select
        source, currency, 'annual_rate_max', 'all', highest_rate,
        {{ limits.annual_rate_max }}, {{ limits.annual_rate_max }}, dear_loans
    from totals
)

select
    m.source,
    m.currency,
    m.limit_name,
    m.segment,
    t.month_on,
    {{ stored('m.value') }} as value,
    cast(m.amber as double) as amber,
    cast(m.red as double) as red,
    cast(m.loans_beyond as integer) as loans_beyond,
    case
        when m.value is null then 'not_evaluated'
        when m.limit_name in ('partner_share_min', 'annual_rate_max')
            then case when m.loans_beyond > 0 then 'red' else 'green' end
        else {{ limit_status('m.value', 'm.amber', 'm.red') }}
    end as status,
    case
        when m.value is not null then null
        when m.limit_name = 'partner_to_tier1' then 'the policy has no tier1_capital of this source'
        else 'the source does not give the rate'
    end as reason
from measured as m
inner join totals as t on m.source = t.source and m.currency = t.currency
