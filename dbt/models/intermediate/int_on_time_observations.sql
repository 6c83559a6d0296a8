-- The observations of loans that are on time (int_on_time_loans), one row per loan and month, with the measures of
-- earlier months in columns: the month before is the row before. A test compares the result with the other path, which
-- feat_loan_months uses for the other loans.
-- noqa: disable=layout.indent
{{ config(materialized='view') }}

with months as (
    select
        months.*,
        {{ month_index('months.month_on') }} as month_no,
        months.month_on >= to_rebuild.from_month as is_made
    from {{ ref('int_loan_months') }} as months
    inner join {{ ref('int_on_time_loans') }} as on_time
        on months.source = on_time.source and months.loan_id = on_time.loan_id
    inner join {{ ref('int_observations_to_rebuild') }} as to_rebuild
        on months.source = to_rebuild.source and months.loan_id = to_rebuild.loan_id
    -- the first computed observation needs twelve months, and one more so that the oldest has a month before it
    where {{ months_between('months.month_on', 'to_rebuild.from_month') }} <= 12
        {%- for table in ['months', 'on_time', 'to_rebuild'] %}
        and {{ in_batch(table ~ '.loan_id') }}
        {%- endfor %}
),

with_previous as (
    select
        *,
        lag(month_no) over before_it is not null as has_previous,
        lag(balance) over before_it as previous_balance,
        lag(dpd_max) over before_it as previous_dpd
    from months
    window before_it as (partition by source, loan_id order by month_no)
),

measured as (
    select
        source,
        loan_id,
        month_no,
        month_on,
        is_made,
        is_default,
        dpd_end,
        balance,
        limit_amount,
        dpd_max,
        status_code,
        cast(paid as double) as paid,
        cast({{ owed() }} as double) as owed,
        {{ rolled_up() }} as rolled_up,
        {{ util() }} as util
    from with_previous
),

side_by_side as (
    select
        source,
        loan_id,
        month_on,
        is_made,
        coalesce(is_default, false) as in_default,
        dpd_end,
        balance,
        limit_amount,
        {%- for months in [3, 6, 12] %}
        cast(least(row_number() over before_it, {{ months }}) as integer) as known_of_{{ months }},
        {%- endfor %}
        {%- for measure, months in side_by_side().items() %}
        {{ measure }} as {{ measure }}_0,
        {%- for age in range(1, months) %}
        lag({{ measure }}, {{ age }}) over before_it as {{ measure }}_{{ age }}
        {{- "," if not (loop.last and measure == side_by_side().keys() | list | last) }}
        {%- endfor %}
        {%- endfor %}
    from measured
    window before_it as (partition by source, loan_id order by month_no)
)

select * from side_by_side where is_made
