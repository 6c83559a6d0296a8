-- Loans whose rows were all known on time and never corrected, and that have no missing month. An observation of such a
-- loan may use all months before it, so windows over the rows give its features (int_on_time_observations). For other
-- loans each observation is joined to the months that it may use (int_loan_month_history), at a cost of twelve rows per
-- observation.
with months as (
    select
        source,
        loan_id,
        {{ month_index('month_on') }} as month_no,
        superseded_on is null and known_on <= {{ observed_on('month_on') }} as is_on_time
    from {{ ref('int_loan_months') }}
)

select
    source,
    loan_id
from months
where {{ 'true' if var('fast_path', true) else 'false' }}
group by source, loan_id
having min(case when is_on_time then 1 else 0 end) = 1 and max(month_no) - min(month_no) + 1 = count(*)
