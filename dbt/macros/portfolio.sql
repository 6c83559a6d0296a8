{# The policy's section `portfolio`, as a mapping like in the policy file. #}
{% macro portfolio_policy() -%}
    {{ return(policy_section("portfolio")) }}
{%- endmacro %}

{# The class in the five-class scheme, by days past due; a write-off is a loss. #}
{% macro risk_class(dpd, is_written_off) -%}
    {%- set classes = portfolio_policy().risk_classes -%}
    case
        when {{ is_written_off }} or {{ dpd }} >= {{ classes.loss }} then 'loss'
        when {{ dpd }} >= {{ classes.doubtful }} then 'doubtful'
        when {{ dpd }} >= {{ classes.substandard }} then 'substandard'
        when {{ dpd }} >= {{ classes.special_mention }} then 'special_mention'
        else 'normal'
    end
{%- endmacro %}

{# The status of a limit: green, amber, red or not_evaluated. A limit without an amber level gets `red` for both. #}
{% macro limit_status(value, amber, red) -%}
    case
        when {{ value }} is null then 'not_evaluated'
        when {{ value }} >= {{ red }} then 'red'
        when {{ value }} >= {{ amber }} then 'amber'
        else 'green'
    end
{%- endmacro %}

{# One row per source: its last month in a relation that has months of all sources. #}
{% macro last_months(relation) -%}
    select source, max(month_on) as last_month from {{ relation }} group by source
{%- endmacro %}

{# One row per loan with an exposure at the newest month-end of its source. #}
{% macro newest_exposures() -%}
    select exposures.*
    from {{ ref('port_exposures') }} as exposures
    inner join ({{ last_months(ref('port_exposures')) }}) as reported
        on exposures.source = reported.source and exposures.month_on = reported.last_month
{%- endmacro %}

{#
  The last CTEs and the final select of a query: what is owed, and what could be, for the rows of `loan_months`, a
  relation like fct_loan_months. One row per loan and month; a loan that is closed or written off has no row. The caller
  passes only the months it needs: joining all months of a large book would not fit in memory.
#}
{% macro exposures(loan_months) -%}
-- one row per loan and day on which its terms were changed, with the next such day
restructured as (
    select
        source,
        loan_id,
        occurred_on,
        lead(occurred_on) over (partition by source, loan_id order by occurred_on) as next_on
    from {{ ref('stg_loan_events') }}
    where kind = 'restructured'
    group by source, loan_id, occurred_on
),

-- one row per loan and month
months as (
    select
        months.source,
        months.loan_id,
        months.month_on,
        loans.borrower_id,
        loans.product,
        loans.currency,
        last_day(loans.opened_on) as cohort_on,
        {{ months_between('loans.opened_on', 'months.month_on') }} as mob,
        terms.term_months,
        loans.annual_rate,
        months.dpd_end,
        months.state,
        months.arrears_basis,
        months.standing,
        -- either definition of default counts: a loan in default by the model's flag has no PD
        months.is_default or months.standing = 'default' as is_default,
        greatest(months.balance, 0) as balance,
        months.limit_amount,
        -- a loan never goes from default to stage 1 at once, whether it was settled or only the month-end flag was
        -- cleared
        months.standing = 'probation' or months.was_in_default as is_probation,
        restructured.occurred_on is not null
        and {{ months_between('restructured.occurred_on', 'months.month_on') }}
        < {{ portfolio_policy().forborne_months }} as is_forborne
    from {{ loan_months }} as months
    inner join {{ ref('dim_loans') }} as loans on months.source = loans.source and months.loan_id = loans.loan_id
    inner join {{ ref('stg_loans') }} as terms on months.source = terms.source and months.loan_id = terms.loan_id
    left join restructured
        on months.source = restructured.source
        and months.loan_id = restructured.loan_id
        and months.month_on >= restructured.occurred_on
        and (restructured.next_on is null or months.month_on < restructured.next_on)
    where not {{ has_ended('months.state') }} and (months.balance > 0 or months.limit_amount is not null)
)

select
    source,
    loan_id,
    month_on,
    borrower_id,
    product,
    currency,
    cohort_on,
    cast(mob as integer) as mob,
    -- an instalment loan past its term still has an unpaid rest, so at least one month remains
    cast(
        case
            when limit_amount is not null then {{ portfolio_policy().exposure.revolving_months }}
            else greatest(term_months - mob, 1)
        end as integer
    ) as remaining_months,
    limit_amount is not null as is_revolving,
    cast(annual_rate as double) as annual_rate,
    dpd_end,
    state,
    standing,
    arrears_basis,
    {{ risk_class('dpd_end', "state = 'written_off'") }} as risk_class,
    is_default,
    is_probation,
    is_forborne,
    cast(balance as decimal(18, 2)) as balance,
    limit_amount,
    -- nothing more is drawn once a loan is in default
    cast(
        balance
        + case
            when is_default then 0
            else {{ portfolio_policy().exposure.credit_conversion }} * greatest(coalesce(limit_amount, 0) - balance, 0)
        end as decimal(18, 2)
    ) as exposure_at_default
from months
{%- endmacro %}
