"""The partitions of delivered files: one for each source and each day on which at least one file landed.

The partitions are dynamic, and each source has its own set. Partitions by calendar day would have two disadvantages. A
source with a single delivery from 2005 would show thousands of empty days, and a day whose file is late would look like
any other empty day.
"""

from collections.abc import Iterable
from datetime import date

import dagster as dg

from dagster_project.ingestion.lake.landing import landing_day, waiting
from dagster_project.night.pipeline import Pipeline


def landing_day_partitions(source: str) -> dg.DynamicPartitionsDefinition:
    """Return the definition of a source's partitions. Their keys are the landing days as ISO dates."""
    return dg.DynamicPartitionsDefinition(name=f"landing_day_{source}")


def add_landing_days(instance: dg.DagsterInstance, source: str, days: Iterable[date]) -> None:
    """Add a partition for each of the given days to a source. Days that already have a partition are ignored."""
    existing = set(instance.get_dynamic_partitions(f"landing_day_{source}"))
    added = sorted({day.isoformat() for day in days} - existing)
    if added:
        instance.add_dynamic_partitions(f"landing_day_{source}", added)


def add_waiting_days(instance: dg.DagsterInstance, pipeline: Pipeline) -> None:
    """Add partitions for the landing days of all files that wait for ingestion, so that the UI shows these days."""
    for name, source in pipeline.sources.items():
        add_landing_days(instance, name, (landing_day(source, p) for p in waiting(source, pipeline.ingest_context)))
