"""Functions for the Dagster instance of a home.

They set up the home and its instance, read the last night from the instance, and mark dead runs as failed.
"""

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from dagster_project.home.files import replace_text
from dagster_project.home.locks import wait_for_lock
from dagster_project.home.settings import PROJECT_ROOT, Settings
from dagster_project.home.version import upgrade_home
from dagster_project.snapshots.fingerprint import git_revision

if TYPE_CHECKING:
    from dagster import DagsterInstance

HOLDS_HOME = ".dagster/creditloom_holds_home"  # the UI does not show tags that begin with .dagster/
_NIGHTS_BACK = 20
_SETTINGS = Path(__file__).with_name("dagster.yaml")


def prepare_home(settings: Settings) -> None:
    """Upgrade the home if necessary, create its folders and write Dagster's settings. Call this before anything else.

    Raises:
        HomeVersionError: the home is newer than this code, or cannot be upgraded.
        NightRunningError: the home needs an upgrade, but a night is running in it.
    """
    upgrade_home(settings, _revision)
    _make_folders(settings)


def _revision() -> str:
    """Return a text that identifies this code.

    This is the commit or, outside a git checkout, the version of the installed package.
    """
    commit = git_revision(PROJECT_ROOT)
    return f"creditloom {metadata.version('creditloom')}" if commit == "none" else f"commit {commit}"


def _make_folders(settings: Settings) -> None:
    for folder in (settings.landing, settings.lake, settings.warehouse, settings.build, settings.published):
        folder.mkdir(parents=True, exist_ok=True)
    settings.mlflow.mkdir(exist_ok=True)
    settings.dagster_home.mkdir(exist_ok=True)
    replace_text(settings.dagster_home / "dagster.yaml", _SETTINGS.read_text())
    os.environ.update(settings.tool_environment)


def open_instance(settings: Settings) -> "DagsterInstance":
    """Open the Dagster instance of a home, which the command line and the UI share.

    Missing folders of the home are created, but the home is not upgraded.
    """
    from dagster import DagsterInstance

    _make_folders(settings)
    # The first process creates Dagster's databases. Without the lock, two processes would both try, and one would fail.
    with wait_for_lock(settings.home, "instance"):
        return DagsterInstance.from_config(str(settings.dagster_home))


def fail_orphaned_runs(instance: "DagsterInstance", own_run_id: str) -> list[str]:
    """Mark runs whose process has died as failed, release their slots in Dagster's pools, and return their ids.

    If the process of a run is killed, Dagster still shows the run as `STARTED`. The run also keeps its slot in the pool
    `warehouse`, so the next run would wait forever.

    Call this only from the run with the id `own_run_id`. This run must hold the home's lock, and must tag itself with
    `HOLDS_HOME` afterwards. Since only one run at a time can hold the lock, all other unfinished runs with this tag are
    dead.
    """
    from dagster import DagsterRunStatus, RunsFilter

    unfinished = [DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]
    holders = instance.get_runs(RunsFilter(statuses=unfinished, tags={HOLDS_HOME: "true"}))
    dead = [run for run in holders if run.run_id != own_run_id]
    for run in dead:
        instance.report_run_failed(run, "the process of this run is gone: it was killed, or the machine went down")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
    return [run.run_id for run in dead]


@dataclass(frozen=True)
class LastNight:
    """The newest run of the nightly job that is not a rebuild.

    Attributes:
        run_id: the id of the Dagster run.
        state: the status of the run in Dagster, in lower case.
        started_at: the time in UTC at which the run started, or None if it has not started.
        ended_at: the time in UTC at which the run ended, or None if it has not ended.
        why: the failed check or the error that ended the run, or None if there was none.
    """

    run_id: str
    state: str
    started_at: datetime | None
    ended_at: datetime | None
    why: str | None


def last_night(settings: Settings) -> LastNight | None:
    """Return the newest night of a home that is not a rebuild.

    Returns None if no night has run in the home yet, or if the newest 20 runs of the nightly job are all rebuilt
    nights.
    """
    from dagster import RunsFilter

    from dagster_project.defs.jobs import KNOWN_AS_OF, NIGHTLY
    from dagster_project.defs.run_failures import FAILED_IN, STOPPED_BY

    with open_instance(settings) as instance:
        found = instance.get_run_records(RunsFilter(job_name=NIGHTLY), limit=_NIGHTS_BACK)
    record = next((r for r in found if KNOWN_AS_OF not in r.dagster_run.tags), None)
    if record is None:
        return None
    run = record.dagster_run
    began, ended = (datetime.fromtimestamp(t, UTC) if t else None for t in (record.start_time, record.end_time))
    return LastNight(
        run.run_id, run.status.value.lower(), began, ended, run.tags.get(STOPPED_BY, run.tags.get(FAILED_IN))
    )
