{# Return keys that occur more than once among the newest versions of a raw table's rows. Only sources with corrections
   are checked. For the others, ingestion has already proven that the key is unique over all files (decision 12). #}
{% test unique_where_corrected(model, columns, table) %}
select {{ columns | join(", ") }}, count(*) as occurrences
from {{ model }}
where source in (select source from {{ source("lake", "superseded") }} where table_name = '{{ table }}')
group by {{ columns | join(", ") }}
having count(*) > 1
{% endtest %}
