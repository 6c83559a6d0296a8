{# The arrears states of a loan month. The list itself is `dagster_project/portfolio/arrears.py`: it arrives here as the
   variables `arrears_states`, `arrears_dpd_max` and `ended_states`. #}

{# The state of a loan month by its days past due, unless the loan has ended. #}
{% macro arrears_state(dpd, is_written_off, is_closed) -%}
    {%- set dpd_max = policy_section("arrears_dpd_max") -%}
    case
        when {{ is_written_off }} then 'written_off'
        when {{ is_closed }} then 'closed'
        {%- for state in var("arrears_states") if dpd_max[state] is defined and dpd_max[state] is not none %}
        when {{ dpd }} <= {{ dpd_max[state] }} then '{{ state }}'
        {%- endfor %}
        {%- for state in dpd_max if dpd_max[state] is none %}
        else '{{ state }}'
        {%- endfor %}
    end
{%- endmacro %}

{# Whether a loan has ended in this state: nothing is owed any more, or it was given up. #}
{% macro has_ended(state="state") -%}
    ({{ state }} in ('{{ policy_section("ended_states") | join("', '") }}'))
{%- endmacro %}
