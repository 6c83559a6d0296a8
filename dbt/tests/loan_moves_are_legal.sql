-- From month-end to month-end a loan only moves as its states allow: nobody leaves default but over probation or by owing
-- nothing, nobody is in probation who was not in default, and what is written off stays so. Only loans that were ever in
-- default can do otherwise.
{{ config(meta={'dagster': {'ref': {'name': 'fct_loan_months'}}}) }}

with months as (
    select
        m.source,
        m.loan_id,
        m.month_on,
        m.standing,
        lag(m.standing) over (partition by m.source, m.loan_id order by m.month_on) as standing_before
    from {{ ref('fct_loan_months') }} as m
    where exists (select 1 from {{ ref('fct_defaults') }} as d where d.source = m.source and d.loan_id = m.loan_id)
)

select m.*
from months as m
where (
    (m.standing_before = 'written_off' and m.standing <> 'written_off')
    or (m.standing = 'probation' and m.standing_before not in ('default', 'probation'))
    or (
        m.standing_before = 'default'
        and m.standing in ('performing', 'past_due')
        and not exists (
            select 1
            from {{ ref('fct_defaults') }} as d
            where d.source = m.source
                and d.loan_id = m.loan_id
                and d.ended_by = 'settled'
                and last_day(d.ended_on) = m.month_on
        )
    )
)
