"""A range of landing days: taken in a run a day and then built on once, or replayed a whole night a day.

Both go on where they stopped: what a day brought leaves the landing folder with its receipt, so that a second start
finds the days that are left.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import date

from dagster_project.defs.instance import open_instance, prepare_home
from dagster_project.home.locks import BACKFILL, home_lock
from dagster_project.ingestion.lake.landing import land_packaged, landing_day, waiting
from dagster_project.night.pipeline import Pipeline
from dagster_project.operations.run_night import (
    Exit,
    NightResult,
    run_night,
)

# Called before each day with the day, how many are done, and how many there are.
Progress = Callable[[date, int, int], None]


class BackfillError(RuntimeError):
    """A day could not be taken in; the days before it were, and stay."""


def waiting_days(pipeline: Pipeline, since: date | None, until: date | None) -> dict[date, list[str]]:
    """The landing days of a range on which something waits, in order, and the sources that it waits for.

    A file whose name tells no day belongs to every range: it is what the others refer to, as a book of loans is.
    """
    found: dict[date, list[str]] = {}
    for name, source in pipeline.sources.items():
        land_packaged(source, pipeline.ingest_context)
        for path in waiting(source, pipeline.ingest_context):
            named_day, day = source.contract.arrives_on(path.name), landing_day(source, path)
            if named_day is None or (since or named_day) <= named_day <= (until or named_day):
                names = found.setdefault(day, [])
                names += [] if name in names else [name]
    return dict(sorted(found.items()))


def load_range(pipeline: Pipeline, since: date | None, until: date | None, progress: Progress) -> NightResult:
    """Take in each waiting day of the range by a run of its own, then run one night on what the lake has.

    Files outside of the range go on waiting.

    Raises:
        BackfillError: a day's run failed.
        NightRunningError: another night is running in this home.
    """
    from dagster_project.definitions import build_defs
    from dagster_project.defs.jobs import SILENT_CONSOLE, STARTED_BY, load_job_name
    from dagster_project.defs.partitions import add_landing_days
    from dagster_project.defs.run_failures import failure_reasons

    prepare_home(pipeline.settings)
    before = len(pipeline.ingest_context.book.all())
    days = waiting_days(pipeline, since, until)
    definitions = build_defs(pipeline)
    with home_lock(pipeline.settings.home, BACKFILL), open_instance(pipeline.settings) as instance:
        for number, (day, names) in enumerate(days.items()):
            progress(day, number, len(days))
            for name in names:
                add_landing_days(instance, name, [day])
                done = definitions.resolve_job_def(load_job_name(name)).execute_in_process(
                    instance=instance,
                    partition_key=day.isoformat(),
                    raise_on_error=False,
                    tags=STARTED_BY,
                    run_config={"loggers": SILENT_CONSOLE},
                )
                if not done.success:
                    raise BackfillError(f"{name}, {day}: {'; '.join(failure_reasons(done.all_events))}")
    result = run_night(replace(pipeline, intake=False))
    return replace(result, receipts=tuple(pipeline.ingest_context.book.all()[before:]))


def replay_range(pipeline: Pipeline, since: date | None, until: date | None, progress: Progress) -> NightResult | None:
    """A whole night on each landing day of the range, by its own clock; the last one's result, None if no day is left.

    A file whose name tells no day is there on the first. Stops after the first night that does not publish. The newest
    day that was taken in before is run first: the night that it belongs to may have been cut off, and one that was not
    has nothing new.
    """
    today = pipeline.now().date()
    days = {day for day in waiting_days(pipeline, since, until) if day < today}
    days |= _newest_taken_in(pipeline, since, until)
    result = None
    with home_lock(pipeline.settings.home, BACKFILL):
        for number, day in enumerate(sorted(days)):
            progress(day, number, len(days))
            result = run_night(replace(pipeline, on=day))
            if result.exit is not Exit.PUBLISHED:
                break
    return result


def _newest_taken_in(pipeline: Pipeline, since: date | None, until: date | None) -> set[date]:
    days = [r.ingested_at.date() for r in pipeline.ingest_context.book.all()]
    return {d for d in [max(days)] if (since or d) <= d <= (until or d)} if days else set()
