-- No loan has paid more than was ever due; the surplus is owed to the borrower. An instalment of a schedule version was
-- due if it fell due before the next version began. Loans without a schedule owe what their statements say, and are not
-- checked.
{{ config(severity='warn', meta={'dagster': {'ref': {'name': 'fct_payments'}}}) }}

with scheduled as (
    select instalments.source, instalments.loan_id, instalments.valid_from, instalments.due_on, instalments.amount
    from {{ ref('stg_schedules') }} as instalments
    where instalments.superseded_on is null and {{ takes_part('instalments') }}
),

versions as (
    select
        source,
        loan_id,
        valid_from,
        lead(valid_from) over (partition by source, loan_id order by valid_from) as next_from
    from {{ ref('stg_schedules') }}
    where superseded_on is null
    group by source, loan_id, valid_from
),

due as (
    select scheduled.source, scheduled.loan_id, sum(scheduled.amount) as amount
    from scheduled
    inner join versions
        on scheduled.source = versions.source
        and scheduled.loan_id = versions.loan_id
        and scheduled.valid_from = versions.valid_from
    where not {{ is_void('scheduled.due_on', 'versions.next_from') }}
    group by scheduled.source, scheduled.loan_id
),

paid as (
    select source, loan_id, sum(amount) as amount
    from {{ ref('fct_payments') }}
    where not in_suspense
    group by source, loan_id
)

select paid.source, paid.loan_id, paid.amount - due.amount as overpaid
from paid
inner join due on paid.source = due.source and paid.loan_id = due.loan_id
where paid.amount - due.amount >= {{ var('overpaid_min') }}
