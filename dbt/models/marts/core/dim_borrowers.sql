with borrowers as (
    select source, borrower_id from {{ ref('stg_borrowers') }}
),

loan_counts as (
    select source, borrower_id, count(*) as loan_count
    from {{ ref('dim_loans') }}
    group by source, borrower_id
)

select
    borrowers.source,
    borrowers.borrower_id,
    cast(coalesce(loan_counts.loan_count, 0) as integer) as loan_count
from borrowers
left join loan_counts
    on borrowers.source = loan_counts.source and borrowers.borrower_id = loan_counts.borrower_id
