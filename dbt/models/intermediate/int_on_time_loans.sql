-- Loans of which nothing was known late, told anew or left out: every month follows on the one before, and was known in
-- time as it is known now. What an observation may know of such a loan is simply all months before it, so that the
-- rows before do (int_on_time_observations); for the others each observation is laid beside the months that it may know
-- (int_loan_month_history), which costs twelve rows for each.
with months as (
    select
        source,
        loan_id,
        {{ month_index('month_on') }} as month_no,
        superseded_on is null and known_on <= {{ add_days('month_on', by_source('feature_lag_days')) }} as is_plain
    from {{ ref('int_loan_months') }}
)

select
    source,
    loan_id
from months
where {{ 'true' if var('fast_path', true) else 'false' }}
group by source, loan_id
having min(case when is_plain then 1 else 0 end) = 1 and max(month_no) - min(month_no) + 1 = count(*)
