"""Backfill of a range of landing days.

There are two kinds. `load_range` runs one load job per day and source, and one night at the end. `replay_range` runs
one night per day. Both can be interrupted and started again: a file leaves the landing folder once it has a receipt, so
the second start processes only the remaining files.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import date

from dagster_project.defs.instance import open_instance, prepare_home
from dagster_project.home.locks import BACKFILL, home_lock
from dagster_project.ingestion.lake.landing import land_packaged, landing_day, waiting
from dagster_project.night.pipeline import Pipeline
from dagster_project.operations.run_night import Exit, NightResult, run_night

# Called before each day with the day, the number of days done, and the total number of days.
Progress = Callable[[date, int, int], None]


class BackfillError(RuntimeError):
    """A landing day could not be taken in. The days before this day have been taken in."""


def waiting_days(pipeline: Pipeline, since: date | None, until: date | None) -> dict[date, list[str]]:
    """Return the landing days of a range that have waiting files, each with the names of the sources of these files.

    The days are sorted. If `since` or `until` is None, the range is open at that end. Files without a date in their
    names belong to every range, because other files may refer to their data. A loan book is an example. Data files that
    are installed as Python packages are copied into the landing folder first.
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
    """Take in the files of each landing day in the range, then run one night on the whole lake.

    There is one run per day and source. Files outside the range stay in the landing folder. If `since` or `until` is
    None, the range is open at that end. `progress` is called before each day.

    Returns:
        The result of the night, with the receipts of all files that were taken in.

    Raises:
        BackfillError: the run of a day failed.
        NightRunningError: a night or another backfill is running in this home.
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
    """Run a whole night for each landing day in the range, with the clock set to that day.

    Only days before today are replayed. A file without a date in its name is taken in by the first night. The replay
    stops after the first night that does not publish.

    The newest day that was already taken in is replayed too, if it is in the range, because its night may have been
    interrupted. If it was not interrupted, its night finds nothing new. If `since` or `until` is None, the range is
    open at that end. `progress` is called before each day.

    Returns:
        The result of the last night; None if there is no day to replay.
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
