-- The observations of the loans that are not plain, each with the months that it may know side by side.
{{ config(materialized='view') }}

select
    source,
    loan_id,
    month_on,
    coalesce(max(case when age = 0 and is_default then 1 end), 0) = 1 as in_default,
    max(case when age = 0 then dpd_end end) as dpd_end,
    max(case when age = 0 then balance end) as balance,
    max(case when age = 0 then limit_amount end) as limit_amount,
    {%- for months in [3, 6, 12] %}
    cast(count(case when age < {{ months }} then 1 end) as integer) as known_of_{{ months }},
    {%- endfor %}
    {%- for measure, months in side_by_side().items() %}
    {%- for age in range(months) %}
    max(case when age = {{ age }} then {{ measure }} end) as {{ measure }}_{{ age }}{{ "," if not (loop.last and measure == side_by_side().keys() | list | last) }}
    {%- endfor %}
    {%- endfor %}
from {{ ref('int_loan_month_history') }}
group by source, loan_id, month_on
-- an observation whose own month is not known yet is none
having max(case when age = 0 then 1 end) = 1
