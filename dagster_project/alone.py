"""One night at a time in a home: a lock that goes with its process, and the runs that died holding something."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dagster import DagsterInstance, DagsterRun

PID_TAG, BOOT_TAG = "creditloom/pid", "creditloom/boot_id"


class NightRunningError(RuntimeError):
    """Another night, or another writer, holds this home."""


@contextmanager
def alone_in(home: Path) -> Iterator[None]:
    """Hold the home's lock; the kernel lets it go when the process ends, however that happens.

    Raises:
        NightRunningError: another process holds it.
    """
    home.mkdir(parents=True, exist_ok=True)
    with (home / "night.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NightRunningError(
                f"another night is running in {home}; wait for it, or see it in the Dagster UI"
            ) from None
        yield


def this_process(pid: int) -> dict[str, str]:
    """Tags by which a later night can tell whether a run's process still lives."""
    return {PID_TAG: str(pid), BOOT_TAG: _boot_id()}


def bury_dead_runs(instance: "DagsterInstance") -> list[str]:
    """End the runs whose process is gone and free what they held; returns their ids.

    A killed run stays `STARTED` and keeps its slot in the warehouse's pool: the next one would wait for ever.
    """
    from dagster import DagsterRunStatus, RunsFilter

    begun = [DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]
    dead = [run for run in instance.get_runs(RunsFilter(statuses=begun)) if _is_dead(run)]
    for run in dead:
        instance.report_run_failed(run, "its process is gone: killed, or the machine went down")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
    return [run.run_id for run in dead]


def _is_dead(run: "DagsterRun") -> bool:
    pid, boot = run.tags.get(PID_TAG), run.tags.get(BOOT_TAG)
    if pid is None or boot is None:
        return False  # it has not reached its first step, and holds nothing yet
    return boot != _boot_id() or not Path(f"/proc/{pid}").exists()


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
