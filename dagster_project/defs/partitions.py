"""Partitions: the landing days of a source, those days and no others on which something landed.

They are dynamic, one set a source, because a calendar would be wrong twice: a source of 2005 with one delivery would
show thousands of days that nobody will ever fill, and a late day would look like any other.
"""

from collections.abc import Iterable
from datetime import date

import dagster as dg

from dagster_project.ingestion.lake.landing import landing_day, waiting
from dagster_project.night.pipeline import Pipeline


def landing_day_partitions(source: str) -> dg.DynamicPartitionsDefinition:
    """The landing days of one source, as ISO dates."""
    return dg.DynamicPartitionsDefinition(name=f"landing_day_{source}")


def add_landing_days(instance: dg.DagsterInstance, source: str, days: Iterable[date]) -> None:
    """Make these days known as partitions of the source; known ones stay as they are."""
    existing = set(instance.get_dynamic_partitions(f"landing_day_{source}"))
    added = sorted({day.isoformat() for day in days} - existing)
    if added:
        instance.add_dynamic_partitions(f"landing_day_{source}", added)


def add_waiting_days(instance: dg.DagsterInstance, pipeline: Pipeline) -> None:
    """Make the days of all files that wait known, so that the screen shows what is not taken in yet."""
    for name, source in pipeline.sources.items():
        add_landing_days(instance, name, (landing_day(source, p) for p in waiting(source, pipeline.ingest_context)))
