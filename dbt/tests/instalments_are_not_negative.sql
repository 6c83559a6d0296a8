-- No instalment is negative. First in, first out pays instalments in the order of their cumulative due amount, which
-- must not fall.
{{ config(meta={'dagster': {'ref': {'name': 'stg_schedules'}}}) }}

select source, loan_id, valid_from, instalment_no, amount
from {{ ref('stg_schedules') }}
where amount < 0 and superseded_on is null
