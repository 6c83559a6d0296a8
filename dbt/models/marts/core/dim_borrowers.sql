with borrowers as (
    select source, borrower_id from {{ ref('stg_borrowers') }}
),

loan_counts as (
    select source, borrower_id, count(*) as loan_count
    from {{ ref('dim_loans') }}
    group by source, borrower_id
)

select
    b.source,
    b.borrower_id,
    cast(coalesce(c.loan_count, 0) as integer) as loan_count
from borrowers as b
left join loan_counts as c on b.source = c.source and b.borrower_id = c.borrower_id
