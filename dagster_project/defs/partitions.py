"""Partitions: one per source and day on which a file landed.

They are dynamic, with one set per source. Calendar partitions would have two faults: a source with one delivery from
2005 would show thousands of days that will never be filled, and a late day would look like any other.
"""

from collections.abc import Iterable
from datetime import date

import dagster as dg

from dagster_project.ingestion.lake.landing import landing_day, waiting
from dagster_project.night.pipeline import Pipeline


def landing_day_partitions(source: str) -> dg.DynamicPartitionsDefinition:
    """The partitions of one source: its landing days, as ISO dates."""
    return dg.DynamicPartitionsDefinition(name=f"landing_day_{source}")


def add_landing_days(instance: dg.DagsterInstance, source: str, days: Iterable[date]) -> None:
    """Add days as partitions of the source. Existing partitions do not change."""
    existing = set(instance.get_dynamic_partitions(f"landing_day_{source}"))
    added = sorted({day.isoformat() for day in days} - existing)
    if added:
        instance.add_dynamic_partitions(f"landing_day_{source}", added)


def add_waiting_days(instance: dg.DagsterInstance, pipeline: Pipeline) -> None:
    """Add the landing days of all files in the landing folders, so that the UI shows days that are not taken in yet."""
    for name, source in pipeline.sources.items():
        add_landing_days(instance, name, (landing_day(source, p) for p in waiting(source, pipeline.ingest_context)))
