-- One row per borrower with live loans, in five dimensions: credit history, ability to perform, behaviour, identity,
-- connections. A column is null if the source does not deliver it.

-- one row per loan with an exposure
with newest as (
    {{ newest_exposures() }}
),

-- one row per source
reported as (
    select source, {{ year_before('max(month_on)') }} as year_before
    from newest
    group by source
),

-- one row per borrower with live loans
exposures as (
    select
        source,
        borrower_id,
        max(month_on) as month_on,
        count(*) as live_loans,
        sum(balance) as balance,
        sum(case when is_revolving then balance end) as drawn,
        sum(limit_amount) as limit_amount,
        max(dpd_end) as dpd_now,
        max(case when is_default then 1 else 0 end) = 1 as in_default,
        max(case when is_forborne then 1 else 0 end) = 1 as is_forborne
    from newest
    group by source, borrower_id
),

-- one row per loan, over all its months
by_loan as (
    select
        months.source,
        months.loan_id,
        min(months.month_on) as first_month,
        max(months.dpd_max) as dpd_ever,
        max(case when months.dpd_max >= 30 then months.month_on end) as last_late_on,
        count(case when months.is_default then 1 end) as months_in_default,
        sum(case when months.month_on > reported.year_before then months.paid end) as paid,
        sum(case when months.month_on > reported.year_before then months.due end) as due,
        count(case when months.month_on > reported.year_before and months.dpd_max >= 1 then 1 end) as late_months,
        count(case when months.month_on > reported.year_before then 1 end) as loan_months
    from {{ ref('fct_loan_months') }} as months
    inner join reported on months.source = reported.source
    group by months.source, months.loan_id
),

-- one row per borrower, over all loans
histories as (
    select
        loans.source,
        loans.borrower_id,
        min(loans.opened_on) as first_opened_on,
        min(by_loan.first_month) as first_month,
        max(by_loan.dpd_ever) as dpd_ever,
        max(by_loan.last_late_on) as last_late_on,
        sum(by_loan.months_in_default) as months_in_default,
        sum(by_loan.paid) as paid,
        sum(by_loan.due) as due,
        sum(by_loan.late_months) as late_months,
        sum(by_loan.loan_months) as loan_months
    from by_loan
    inner join {{ ref('dim_loans') }} as loans on by_loan.source = loans.source and by_loan.loan_id = loans.loan_id
    group by loans.source, loans.borrower_id
),

-- one row per borrower with joint loans
partners as (
    select loans.source, loans.borrower_id, count(distinct shares.partner) as partners
    from {{ ref('int_partner_shares') }} as shares
    inner join {{ ref('dim_loans') }} as loans on shares.source = loans.source and shares.loan_id = loans.loan_id
    group by loans.source, loans.borrower_id
)

select
    exposures.source,
    exposures.borrower_id,
    exposures.month_on,
    cast(
        {{ months_between(
            'coalesce(histories.first_opened_on, histories.first_month)', 'exposures.month_on'
        ) }} as integer
    ) as history_months,
    histories.dpd_ever as history_dpd_ever,
    cast({{ months_between('histories.last_late_on', 'exposures.month_on') }} as integer) as history_months_since_dpd30,
    cast(histories.months_in_default as integer) as history_months_in_default,
    cast(exposures.balance as decimal(18, 2)) as ability_balance,
    {{ stored(ratio('exposures.drawn', 'exposures.limit_amount')) }} as ability_utilisation,
    exposures.is_forborne as ability_is_forborne,
    exposures.dpd_now as behaviour_dpd_now,
    {{ stored(ratio('histories.paid', 'histories.due')) }} as behaviour_pay_ratio_12m,
    {{ stored(ratio('histories.late_months', 'histories.loan_months')) }} as behaviour_late_share_12m,
    borrowers.known_on as identity_known_since,
    cast(exposures.live_loans as integer) as connections_live_loans,
    cast(coalesce(partners.partners, 0) as integer) as connections_partners,
    exposures.in_default
from exposures
inner join histories on exposures.source = histories.source and exposures.borrower_id = histories.borrower_id
left join partners on exposures.source = partners.source and exposures.borrower_id = partners.borrower_id
left join {{ ref('stg_borrowers') }} as borrowers
    on exposures.source = borrowers.source and exposures.borrower_id = borrowers.borrower_id
