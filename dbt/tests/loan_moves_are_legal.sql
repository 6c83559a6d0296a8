-- From one month-end to the next, a loan's standing changes only as allowed: a loan leaves default only through
-- probation or full repayment, only a loan that was in default enters probation, and a written-off loan stays written
-- off. Only loans that were ever in default are checked, because no others can break these rules.
{{ config(meta={'dagster': {'ref': {'name': 'fct_loan_months'}}}) }}

with months as (
    select
        months.source,
        months.loan_id,
        months.month_on,
        months.standing,
        lag(months.standing) over (
            partition by months.source, months.loan_id order by months.month_on
        ) as standing_before
    from {{ ref('fct_loan_months') }} as months
    where
        exists (
            select 1
            from {{ ref('fct_defaults') }} as defaults
            where defaults.source = months.source and defaults.loan_id = months.loan_id
        )
)

select months.*
from months
where (
    (months.standing_before = 'written_off' and months.standing <> 'written_off')
    or (months.standing = 'probation' and months.standing_before not in ('default', 'probation'))
    or (
        months.standing_before = 'default'
        and months.standing in ('performing', 'past_due')
        and not exists (
            select 1
            from {{ ref('fct_defaults') }} as defaults
            where defaults.source = months.source
                and defaults.loan_id = months.loan_id
                and defaults.ended_by = 'settled'
                and last_day(defaults.ended_on) = months.month_on
        )
    )
)
