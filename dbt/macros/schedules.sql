{# A schedule has versions. The instalments of a version count if they fall due while it is the newest version. #}

{# Whether an instalment falls due on or after the day its version begins; one that falls due earlier never counts. #}
{% macro takes_part(instalment) -%}
    ({{ instalment }}.due_on >= {{ instalment }}.valid_from)
{%- endmacro %}

{# Whether the next version of the schedule, which begins on `next_from`, cancels an instalment. #}
{% macro is_void(due_on, next_from) -%}
    coalesce({{ due_on }} >= {{ next_from }}, false)
{%- endmacro %}
