"""One night at a time in a home: a lock that goes with its process, and the runs that died holding something."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dagster import DagsterInstance

HOLDS_HOME = ".dagster/creditloom_holds_home"  # a name with this beginning is not shown


# The lock that a backfill holds beside each run's own: the landing sensor leaves the files to it.
BACKFILL = "backfill"


class NightRunningError(RuntimeError):
    """Another night, or another writer, holds this home."""


@contextmanager
def alone_in(home: Path, what: str = "night") -> Iterator[None]:
    """Hold the home's lock for a night (or `what` else); the kernel lets it go when the process ends.

    Raises:
        NightRunningError: another process holds it.
    """
    home.mkdir(parents=True, exist_ok=True)
    with (home / f"{what}.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NightRunningError(f"another {what} is running in {home}; wait for it, or end it first") from None
        yield


@contextmanager
def in_turn(home: Path, what: str) -> Iterator[None]:
    """Wait for whoever does the same in this home, then do it."""
    with (home / f"{what}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def is_held(home: Path, *what: str) -> bool:
    """Whether a night, or any of `what`, holds its lock of this home at this moment."""
    try:
        for name in what:
            with alone_in(home, name):
                pass
    except NightRunningError:
        return True
    return False


def bury_dead_runs(instance: "DagsterInstance", own_run_id: str) -> list[str]:
    """End the runs that died holding the home and free what they held; returns their ids.

    To be called under the lock, by a run that then tags itself: whoever holds the lock knows that every other run with
    the tag is dead. A killed run stays `STARTED` and keeps its slot in the warehouse's pool: the next one would wait
    for ever.
    """
    from dagster import DagsterRunStatus, RunsFilter

    begun = [DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]
    holders = instance.get_runs(RunsFilter(statuses=begun, tags={HOLDS_HOME: "true"}))
    dead = [run for run in holders if run.run_id != own_run_id]
    for run in dead:
        instance.report_run_failed(run, "its process is gone: killed, or the machine went down")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
    return [run.run_id for run in dead]
