{# Keys that the rows of a raw table have more than once although only their newest versions count. Where a source has
   no newer versions the border has proven the key, of all files together (decision 12), and nothing is looked at. #}
{% test unique_where_corrected(model, columns, table) %}
select {{ columns | join(", ") }}, count(*) as occurrences
from {{ model }}
where source in (select source from {{ source("lake", "superseded") }} where table_name = '{{ table }}')
group by {{ columns | join(", ") }}
having count(*) > 1
{% endtest %}
