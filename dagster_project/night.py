"""One night from the command line: skip it if nothing is new, else run the nightly job here and say how it went."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING

from dagster_project.alone import alone_in
from dagster_project.ingestion.receipts import Receipt
from dagster_project.instance import open_instance, prepare_home
from dagster_project.notices import send_what_waits
from dagster_project.publication import nothing_new
from dagster_project.publishing.snapshot import Snapshot, current_snapshot, open_snapshot
from dagster_project.resources import EARLY_WARNINGS_ASSET, SNAPSHOT_ASSET, Pipeline
from dagster_project.space import DiskFullError, ran_out

if TYPE_CHECKING:
    from dagster import AssetCheckEvaluation, DagsterEvent
    from dagster_shared.error import SerializableErrorInfo

# The run's log goes to the Dagster instance; the terminal gets the summary.
STARTED_BY = {"creditloom/started_by": "command line"}
SILENT_CONSOLE = {"console": {"config": {"log_level": "CRITICAL"}}}


class Exit(IntEnum):
    """Exit codes of the command line."""

    PUBLISHED = 0
    FAILED = 1
    USAGE = 2
    STOPPED = 3


@dataclass(frozen=True)
class NightResult:
    """How a night went. `stages`: seconds of each step in order; `failures`: what stopped it, in words.

    `receipts`: what was taken in, or held back, this night.
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

    Args:
        pipeline: settings, policy, sources and checks.
        force: run even where nothing is new.

    Raises:
        NightRunningError: another night is running in this home.
        ClockError: the day to replay is behind what was taken in, or in the future.
        DiskFullError: there is too little room to begin, or it ran out.
        SnapshotCorruptionError: nobody can tell what is published.
        HomeVersionError: the home cannot be upgraded to this code's version.
    """
    started = time.time()
    prepare_home(pipeline.settings)
    pipeline.check_clock()
    with alone_in(pipeline.settings.home):  # the run itself takes the lock again; see the resource `night`
        unchanged = None if force else nothing_new(pipeline)
        if unchanged:
            send_what_waits(pipeline)
    if unchanged:
        return NightResult(Exit.PUBLISHED, unchanged, False, None, time.time() - started, {})
    pipeline.check_space()
    try:
        return _run(pipeline, started)
    except Exception as error:  # Dagster's own databases and the log of the tools lie on the same disk
        full = ran_out(pipeline.settings.home, [str(error)])
        if full:
            raise DiskFullError(full) from error
        raise


def _run(pipeline: Pipeline, started: float) -> NightResult:
    import dagster as dg

    from dagster_project.definitions import build_defs
    from dagster_project.jobs import NIGHTLY
    from dagster_project.night_resource import night_config

    _quiet()
    before, receipts_before = current_snapshot(pipeline.settings.published), len(pipeline.border.book.all())
    definitions = build_defs(pipeline)
    loaded = time.time()
    with _tools_print_to(pipeline.settings.home / "logs" / "night.log"), open_instance(pipeline.settings) as instance:
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
        failed_checks = [
            f"{e.asset_key.to_user_string()}: {e.check_name}: {_advice(e)}"
            for e in result.get_asset_check_evaluations()
            if not e.passed
            and e.severity == dg.AssetCheckSeverity.ERROR
            and e.asset_key.path != list(EARLY_WARNINGS_ASSET)  # a warning is about the book, and stops nothing
        ]
        errors = failure_reasons(result.all_events)
        full = None if result.success else ran_out(pipeline.settings.home, errors)
        errors = [full, *errors] if full else errors
        made = [
            m.metadata["snapshot_id"].value
            for event in result.get_asset_materialization_events()
            if (m := event.materialization).asset_key.path == list(SNAPSHOT_ASSET)
        ]
    published = pipeline.settings.published
    snapshot = open_snapshot(published / str(made[0])) if made else current_snapshot(published)
    exit_code = Exit.PUBLISHED if result.success else Exit.STOPPED if failed_checks else Exit.FAILED
    changed = result.success and snapshot is not None and (before is None or before.sha256 != snapshot.sha256)
    failures = () if result.success else tuple(failed_checks or errors)
    taken_in = tuple(pipeline.border.book.all()[receipts_before:])
    return NightResult(exit_code, snapshot, changed, result.run_id, time.time() - started, stages, failures, taken_in)


@contextmanager
def _tools_print_to(log: Path) -> Iterator[None]:
    """What dbt and others print goes to a file; each night begins it anew."""
    log.parent.mkdir(exist_ok=True)
    with log.open("w") as handle, redirect_stdout(handle), redirect_stderr(handle):
        yield


def _advice(evaluation: "AssetCheckEvaluation") -> str:
    found = evaluation.metadata.get("what to do")
    rows = evaluation.metadata.get("failing_rows")
    words = str(found.value) if found else evaluation.description or "failed"
    return f"{words} ({rows.value} rows)" if rows else words


def failure_reasons(events: "Sequence[DagsterEvent]") -> list[str]:
    """Why a run failed: the step and its innermost error, in one line each."""
    errors = [_reason(e.step_key, e.step_failure_data.error) for e in events if e.is_step_failure]
    # What fails outside of a step, as the lock may, is told by the run's own last event.
    return errors or [_reason("run", e.job_failure_data.error) for e in events if e.is_job_failure]


def _reason(where: str | None, error: "SerializableErrorInfo | None") -> str:
    """A failure in one line: the innermost error that was raised."""
    while error is not None and error.cause is not None:
        error = error.cause
    return f"{where}: {error.message.strip() if error else 'failed'}"


def _quiet() -> None:
    """Libraries that log for themselves say only what is wrong."""
    for name in ("alembic", "great_expectations", "mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
