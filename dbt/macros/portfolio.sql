{# The policy's values for the portfolio: a mapping, as the policy file has it. #}
{% macro portfolio_policy() -%}
    {{ return(policy_section("portfolio")) }}
{%- endmacro %}

{# The class of the five-class scheme that so many days past due stand in. #}
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

{# Green, amber or red; a limit without amber has the same value twice. Nothing to compare is no verdict. #}
{% macro limit_status(value, amber, red) -%}
    case
        when {{ value }} is null then 'not_evaluated'
        when {{ value }} >= {{ red }} then 'red'
        when {{ value }} >= {{ amber }} then 'amber'
        else 'green'
    end
{%- endmacro %}

{#
  What is owed, and could be, at these rows of fct_loan_months (a relation), as the last parts of a `with`. What is closed
  or written off is none. The rows are given, and not filtered afterwards: of a large book few months are asked for, and
  joins of all of them do not fit.
#}
{% macro exposures(months) -%}
-- each change of terms until the next one
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

months as (
    select
        m.source,
        m.loan_id,
        m.month_on,
        l.borrower_id,
        l.product,
        l.currency,
        last_day(l.opened_on) as cohort_on,
        {{ months_between('l.opened_on', 'm.month_on') }} as mob,
        t.term_months,
        l.annual_rate,
        m.dpd_end,
        m.state,
        m.arrears_basis,
        m.standing,
        -- whoever the model takes to be in default has no PD: both definitions count
        m.is_default or m.standing = 'default' as is_default,
        greatest(m.balance, 0) as balance,
        m.limit_amount,
        -- and nobody leaves default for stage 1 at once, be it by settling or by the plain flag alone
        m.standing = 'probation' or m.was_in_default as is_probation,
        x.occurred_on is not null
        and {{ months_between('x.occurred_on', 'm.month_on') }} < {{ portfolio_policy().forborne_months }} as is_forborne
    from {{ months }} as m
    inner join {{ ref('dim_loans') }} as l on m.source = l.source and m.loan_id = l.loan_id
    inner join {{ ref('stg_loans') }} as t on m.source = t.source and m.loan_id = t.loan_id
    left join restructured as x
        on m.source = x.source
        and m.loan_id = x.loan_id
        and m.month_on >= x.occurred_on
        and (x.next_on is null or m.month_on < x.next_on)
    where not {{ has_ended('m.state') }} and (m.balance > 0 or m.limit_amount is not null)
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
    -- an instalment loan past its term has its rest to pay still
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
