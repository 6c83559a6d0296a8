{# The arrears states of a loan month. They are defined in `dagster_project/portfolio/arrears.py`, and dbt gets them as
   the variables `arrears_states`, `arrears_dpd_max` and `ended_states`. #}

{# The arrears state of a loan month: `written_off` or `closed` for a loan that has ended, else the class of its days
   past due. #}
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

{# Whether a loan in this state has ended: it is closed or written off. #}
{% macro has_ended(state="state") -%}
    ({{ state }} in ('{{ policy_section("ended_states") | join("', '") }}'))
{%- endmacro %}
