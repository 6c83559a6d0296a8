-- From month-end to month-end a loan only moves as its states allow: nobody leaves default but over probation or by
-- owing nothing, nobody is in probation who was not in default, and what is written off stays so. Only loans that
-- were ever in default can do otherwise.
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
