-- What is owed, and could be, at the newest month-end of a source and at the one before: the loans that expected loss
-- is computed on.
--
-- The months are named, and not a range: DuckDB then selects the rows before it joins them to others.
with reported as (
    {{ last_months(ref('fct_loan_months')) }}
),

-- one row per source and month
asked as (
    select source, last_month as month_on from reported
    union all
    select source, {{ month_end_before('last_month') }} from reported
),

-- one row per loan and month
newest as (
    select months.*
    from {{ ref('fct_loan_months') }} as months
    inner join asked on months.source = asked.source and months.month_on = asked.month_on
),

{{ exposures('newest') }}
