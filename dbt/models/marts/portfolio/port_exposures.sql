-- What is owed, and could be, at the newest month-end of a source and at the one before: the loans that expected loss is
-- computed on.
with reported as (
    select source, {{ month_end_before('max(month_on)') }} as month_before
    from {{ ref('fct_loan_months') }}
    group by source
),

newest as (
    select m.*
    from {{ ref('fct_loan_months') }} as m
    inner join reported as r on m.source = r.source
    where m.month_on >= r.month_before
),

{{ exposures('newest') }}
