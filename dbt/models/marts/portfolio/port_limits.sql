-- The policy's limits at the newest month-end: concentration, joint lending, price. One row per limit and segment. A
-- limit that cannot be evaluated has a reason.
{%- set limits = portfolio_policy().limits %}

-- one row per loan with an exposure
with exposures as (
    {{ newest_exposures() }}
),

-- one row per loan that owes something
loans as (
    select * from exposures where balance > 0
),

-- one row per source and currency
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

-- one row per source, currency and product
segments as (
    select
        loans.source,
        loans.currency,
        loans.product as segment,
        {{ ratio('sum(loans.balance)', 'max(totals.balance)') }} as share
    from loans
    inner join totals on loans.source = totals.source and loans.currency = totals.currency
    group by loans.source, loans.currency, loans.product
),

-- one row per source, currency and borrower, numbered by balance
borrowers as (
    select
        source,
        currency,
        sum(balance) as balance,
        row_number() over (partition by source, currency order by sum(balance) desc) as place
    from loans
    group by source, currency, borrower_id
),

-- one row per source and currency: the share of the twenty largest borrowers
largest as (
    select
        borrowers.source,
        borrowers.currency,
        {{ ratio('sum(borrowers.balance)', 'max(totals.balance)') }} as share
    from borrowers
    inner join totals on borrowers.source = totals.source and borrowers.currency = totals.currency
    where borrowers.place <= 20
    group by borrowers.source, borrowers.currency
),

-- one row per joint loan and partner
funded as (
    select
        loans.source,
        loans.currency,
        loans.loan_id,
        shares.partner,
        shares.share,
        cast(loans.balance * shares.share as decimal(18, 2)) as balance
    from loans
    inner join {{ ref('int_partner_shares') }} as shares
        on loans.source = shares.source and loans.loan_id = shares.loan_id
),

-- one row per source and currency: the smallest share of a loan that partners bear, and the loans below the minimum
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

-- one row per source and currency: the share of joint loans
joint_loans as (
    select
        loans.source,
        loans.currency,
        {{ ratio('sum(loans.balance)', 'max(totals.balance)') }} as share
    from loans
    inner join (
        select distinct source, loan_id from funded
    ) as joint on loans.source = joint.source and loans.loan_id = joint.loan_id
    inner join totals on loans.source = totals.source and loans.currency = totals.currency
    group by loans.source, loans.currency
),

-- one row per source, currency and partner
partners as (
    select
        source,
        currency,
        partner,
        cast(sum(balance) as double) / {{ by_source('tier1_capital') }} as share
    from funded
    group by source, currency, partner
),

-- one row per source, currency, limit and segment
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
        totals.source, totals.currency, 'joint_share', 'all', coalesce(joint_loans.share, 0),
        {{ limits.joint_share }}, {{ limits.joint_share }}, 0
    from totals
    left join joint_loans on totals.source = joint_loans.source and totals.currency = joint_loans.currency
    union all
    select
        source, currency, 'partner_to_tier1', partner, share,
        {{ limits.partner_to_tier1 }}, {{ limits.partner_to_tier1 }}, 0
    from partners
    union all
    -- the last two limits are broken by a single loan
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
    measured.source,
    measured.currency,
    measured.limit_name,
    measured.segment,
    totals.month_on,
    {{ stored('measured.value') }} as value,
    cast(measured.amber as double) as amber,
    cast(measured.red as double) as red,
    cast(measured.loans_beyond as integer) as loans_beyond,
    case
        when measured.value is null then 'not_evaluated'
        when measured.limit_name in ('partner_share_min', 'annual_rate_max')
            then case when measured.loans_beyond > 0 then 'red' else 'green' end
        else {{ limit_status('measured.value', 'measured.amber', 'measured.red') }}
    end as status,
    case
        when measured.value is not null then null
        when measured.limit_name = 'partner_to_tier1' then 'the policy has no tier1_capital of this source'
        else 'the source does not give the rate'
    end as reason
from measured
inner join totals on measured.source = totals.source and measured.currency = totals.currency
