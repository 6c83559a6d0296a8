"""Backfill a range of landing days: with one load run per day and one night at the end, or with one night per day.

Both resume where they stopped: a file leaves the landing folder once it has a receipt, so a second start finds only the
remaining days.
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
    """A day could not be taken in. The days before it have been taken in."""


def waiting_days(pipeline: Pipeline, since: date | None, until: date | None) -> dict[date, list[str]]:
    """The landing days of a range that have files to take in, in order: day -> names of the files' sources.

    A file without a date in its name belongs to every range, because it contains data that other files refer to, such
    as a loan book.
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
    """Take in each landing day of the range in its own run, then run one night on the lake.

    Files outside the range stay in the landing folder.

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
    """Run a whole night on each landing day of the range, by that day's clock.

    A file without a date in its name is available from the first day on. The replay stops after the first night that
    does not publish. It begins with the newest day that was taken in before, because the night of that day may have
    been interrupted. If it was not, that night finds nothing new.

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
