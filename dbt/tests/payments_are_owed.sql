-- Money that a loan has paid beyond all that was ever due of it is owed to the borrower. Of a version of the schedule what
-- is due before the next one begins was due; a loan without a schedule owes what its statements say, and is not asked about.
{{ config(severity='warn', meta={'dagster': {'ref': {'name': 'fct_payments'}}}) }}

with scheduled as (
    select source, loan_id, valid_from, due_on, amount
    from {{ ref('stg_schedules') }}
    where superseded_on is null and due_on >= valid_from
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
    select s.source, s.loan_id, sum(s.amount) as amount
    from scheduled as s
    inner join versions as v on s.source = v.source and s.loan_id = v.loan_id and s.valid_from = v.valid_from
    where v.next_from is null or s.due_on < v.next_from
    group by s.source, s.loan_id
),

paid as (
    select source, loan_id, sum(amount) as amount from {{ ref('fct_payments') }} where not in_suspense group by source, loan_id
)

select p.source, p.loan_id, p.amount - d.amount as overpaid
from paid as p
inner join due as d on p.source = d.source and p.loan_id = d.loan_id
where p.amount - d.amount >= {{ var('overpaid_min') }}
