"""The function that runs one night from the command line.

It runs the nightly job in this process, unless there is nothing new.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from dagster_project.defs.instance import open_instance, prepare_home
from dagster_project.home.disk_space import DiskFullError, disk_full_reason
from dagster_project.home.locks import home_lock
from dagster_project.ingestion.lake.receipts import Receipt
from dagster_project.night.imports import importing_meanwhile
from dagster_project.night.notify import send_pending
from dagster_project.night.pipeline import Pipeline
from dagster_project.night.publish import nothing_new
from dagster_project.snapshots.snapshot import Snapshot, current_snapshot, open_snapshot
from dagster_project.warehouse.runner import dbt_starting, prepare_manifest


class Exit(IntEnum):
    """The exit codes of `creditloom night` and `creditloom backfill`.

    `PUBLISHED` is also used if there was nothing new. `STOPPED` means that a blocking check stopped the night.
    """

    PUBLISHED = 0
    FAILED = 1
    USAGE = 2
    STOPPED = 3


@dataclass(frozen=True)
class NightResult:
    """The outcome of a night.

    Attributes:
        exit: the exit code of the command.
        snapshot: the snapshot that the night published or rebuilt. If there is none, the current snapshot, or None if
            nothing was ever published.
        changed: whether the night published new content.
        run_id: the id of the Dagster run; None if there was nothing new.
        seconds: the duration of the whole night.
        stages: seconds per step, in the order of the steps.
        failures: the reasons why the night failed or was stopped.
        receipts: the receipts of the files that the night took in, including quarantined files.
    """

    exit: Exit
    snapshot: Snapshot | None
    changed: bool
    run_id: str | None
    seconds: float
    stages: dict[str, float]
    failures: tuple[str, ...] = ()
    receipts: tuple[Receipt, ...] = ()


def run_night(pipeline: Pipeline, *, force: bool = False) -> NightResult:
    """Run a night in this process.

    If there is nothing new, no run is started and only the messages that are still in the outbox are sent.

    Args:
        pipeline: the pipeline of the home in which the night runs.
        force: run the night even if there is nothing new.

    Raises:
        NightRunningError: another night is running in this home.
        ClockError: the day to replay is in the future, or before the newest delivery that was taken in.
        DiskFullError: there is too little disk space to begin, or the disk became full during the night.
        SnapshotCorruptionError: the manifest of the current snapshot is missing or unreadable.
        HomeVersionError: the home cannot be upgraded to the version of this code.
    """
    started = time.time()
    prepare_home(pipeline.settings)
    pipeline.check_clock()
    with home_lock(pipeline.settings.home):  # the run takes the lock again, in the resource `night`
        unchanged = None if force else nothing_new(pipeline)
        if unchanged:
            send_pending(pipeline)
    if unchanged:
        return NightResult(Exit.PUBLISHED, unchanged, False, None, time.time() - started, {})
    pipeline.check_disk_space()
    try:
        return _run(pipeline, started)
    except Exception as error:  # a full disk may raise any error, because Dagster's databases and the log are on it
        full = disk_full_reason(pipeline.settings.home, [str(error)])
        if full:
            raise DiskFullError(full) from error
        raise


def _run(pipeline: Pipeline, started: float) -> NightResult:
    with dbt_starting(pipeline.settings, pipeline.policy):
        return _run_with_dbt(pipeline, started)


def _run_with_dbt(pipeline: Pipeline, started: float) -> NightResult:
    from dagster_project.definitions import build_defs
    from dagster_project.defs.jobs import NIGHTLY, SILENT_CONSOLE, STARTED_BY
    from dagster_project.defs.resources import night_config
    from dagster_project.defs.run_failures import blocking_failures, failure_reasons, snapshot_id_of

    _quiet()
    before, receipts_before = current_snapshot(pipeline.settings.published), len(pipeline.ingest_context.book.all())
    with importing_meanwhile(pipeline):
        prepare_manifest(pipeline.settings, pipeline.policy)
    definitions = build_defs(pipeline)
    loaded = time.time()
    with _output_to(pipeline.settings.home / "logs" / "night.log"), open_instance(pipeline.settings) as instance:
        job = definitions.resolve_job_def(NIGHTLY)
        result = job.execute_in_process(
            instance=instance,
            raise_on_error=False,
            tags=STARTED_BY,
            run_config={"loggers": SILENT_CONSOLE, "resources": night_config(pipeline)},
        )
        stages = {"load": round(loaded - started, 1)} | {
            stats.step_key: round((stats.end_time or 0) - (stats.start_time or 0), 1)
            for stats in sorted(instance.get_run_step_stats(result.run_id), key=lambda s: s.start_time or 0)
            if stats.start_time and stats.end_time
        }
        failed_checks = blocking_failures(result)
        errors = failure_reasons(result.all_events)
        full = None if result.success else disk_full_reason(pipeline.settings.home, errors)
        errors = [full, *errors] if full else errors
        snapshot_id = snapshot_id_of(result)
    published = pipeline.settings.published
    snapshot = open_snapshot(published / snapshot_id) if snapshot_id else current_snapshot(published)
    exit_code = Exit.PUBLISHED if result.success else Exit.STOPPED if failed_checks else Exit.FAILED
    changed = result.success and snapshot is not None and (before is None or before.sha256 != snapshot.sha256)
    failures = () if result.success else tuple(failed_checks or errors)
    taken_in = tuple(pipeline.ingest_context.book.all()[receipts_before:])
    return NightResult(exit_code, snapshot, changed, result.run_id, time.time() - started, stages, failures, taken_in)


@contextmanager
def _output_to(log: Path) -> Iterator[None]:
    """Redirect stdout and stderr to a log file while the block runs. An existing file is overwritten."""
    log.parent.mkdir(exist_ok=True)
    with log.open("w") as handle, redirect_stdout(handle), redirect_stderr(handle):
        yield


def _quiet() -> None:
    """Set the loggers of Alembic, Great Expectations and MLflow to log only errors."""
    for name in ("alembic", "great_expectations", "mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
