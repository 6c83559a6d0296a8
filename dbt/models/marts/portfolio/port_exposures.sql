-- What is owed, and what could be, at a source's newest month-end and the one before: the loans for which expected loss
-- is computed.
--
-- The two months are listed instead of given as a range: DuckDB then filters the rows before it joins them.
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
