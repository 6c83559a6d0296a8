-- What is owed, and could be, at the newest month-end of a source and at the one before: the loans that expected loss is
-- computed on.
with reported as (
    select source, max(month_on) as month_on from {{ ref('fct_loan_months') }} group by source
),

-- two months by name, and not all from one on: DuckDB then takes the rows before it joins them to others
asked as (
    select source, month_on from reported
    union all
    select source, {{ month_end_before('month_on') }} from reported
),

newest as (
    select months.*
    from {{ ref('fct_loan_months') }} as months
    inner join asked on months.source = asked.source and months.month_on = asked.month_on
),

{{ exposures('newest') }}
