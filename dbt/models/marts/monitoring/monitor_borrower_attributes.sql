-- Attributes for measuring fairness. They are never features and never published.
select
    source,
    borrower_id,
    sex,
    age,
    marriage,
    education
from {{ ref('stg_borrower_attributes') }}
