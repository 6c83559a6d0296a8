-- Attributes that fairness is measured by. Never a feature, never published.
select
    source,
    borrower_id,
    sex,
    age,
    marriage,
    education
from {{ ref('stg_borrower_attributes') }}
