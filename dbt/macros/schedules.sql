{# A schedule has versions. Of each version those instalments count that fall due while it is the newest. #}

{# Whether an instalment falls due when its version holds; one that is due before is never asked for. #}
{% macro takes_part(instalment) -%}
    ({{ instalment }}.due_on >= {{ instalment }}.valid_from)
{%- endmacro %}

{# Whether the next version of the schedule, which begins on `next_from`, does away with an instalment. #}
{% macro is_void(due_on, next_from) -%}
    coalesce({{ due_on }} >= {{ next_from }}, false)
{%- endmacro %}
