{# The policy's values for the portfolio: a mapping, as the policy file has it. #}
{% macro portfolio_policy() -%}
    {{ return(policy_section("portfolio")) }}
{%- endmacro %}

{# The class of the five-class scheme that so many days past due stand in. #}
{% macro risk_class(dpd, is_written_off) -%}
    {%- set classes = portfolio_policy().risk_classes -%}
    case
        when {{ is_written_off }} or {{ dpd }} >= {{ classes.loss }} then 'loss'
        when {{ dpd }} >= {{ classes.doubtful }} then 'doubtful'
        when {{ dpd }} >= {{ classes.substandard }} then 'substandard'
        when {{ dpd }} >= {{ classes.special_mention }} then 'special_mention'
        else 'normal'
    end
{%- endmacro %}

{# Green, amber or red; a limit without amber has the same value twice. Nothing to compare is no verdict. #}
{% macro limit_status(value, amber, red) -%}
    case
        when {{ value }} is null then 'not_evaluated'
        when {{ value }} >= {{ red }} then 'red'
        when {{ value }} >= {{ amber }} then 'amber'
        else 'green'
    end
{%- endmacro %}
