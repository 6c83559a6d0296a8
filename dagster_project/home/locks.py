"""Locks of a home: file locks that the kernel releases when their process ends."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# The lock that a backfill holds beside each run's own: the landing sensor leaves the files to it.
BACKFILL = "backfill"


class NightRunningError(RuntimeError):
    """Another night, or another writer, holds this home."""


@contextmanager
def home_lock(home: Path, what: str = "night") -> Iterator[None]:
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
def wait_for_lock(home: Path, what: str) -> Iterator[None]:
    """Wait for whoever does the same in this home, then do it."""
    with (home / f"{what}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def is_locked(home: Path, *what: str) -> bool:
    """Whether a night, or any of `what`, holds its lock of this home at this moment."""
    try:
        for name in what:
            with home_lock(home, name):
                pass
    except NightRunningError:
        return True
    return False
