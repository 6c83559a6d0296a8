-- The observations of plain loans (see int_on_time_loans), each with its months side by side: what a month back was is
-- what the row before says. A test holds that this equals int_revised_observations where both can be had.
{{ config(materialized='view') }}

with months as (
    select
        m.*,
        {{ month_index('m.month_on') }} as month_no,
        m.month_on >= w.from_month as is_made
    from {{ ref('int_loan_months') }} as m
    inner join {{ ref('int_on_time_loans') }} as p on m.source = p.source and m.loan_id = p.loan_id
    inner join {{ ref('int_observations_to_rebuild') }} as w on m.source = w.source and m.loan_id = w.loan_id
    -- the twelve months of the first observation that is made, and one more, so that its oldest has a month before it
    where {{ months_between('m.month_on', 'w.from_month') }} <= 12
        {%- for table in ['m', 'p', 'w'] %}
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
        lag({{ measure }}, {{ age }}) over before_it as {{ measure }}_{{ age }}{{ "," if not (loop.last and measure == side_by_side().keys() | list | last) }}
        {%- endfor %}
        {%- endfor %}
    from measured
    window before_it as (partition by source, loan_id order by month_no)
)

select * from side_by_side where is_made
