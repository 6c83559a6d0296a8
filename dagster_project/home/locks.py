"""Locks of a home: file locks that the kernel releases when their process ends."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# A backfill holds this lock beside the lock of each run; while it does, the landing sensor starts no run.
BACKFILL = "backfill"


class NightRunningError(RuntimeError):
    """Another process holds a lock of this home."""


@contextmanager
def home_lock(home: Path, what: str = "night") -> Iterator[None]:
    """Hold a lock of the home, by default that of a night; the kernel releases it when the process ends.

    Raises:
        NightRunningError: another process holds it.
    """
    home.mkdir(parents=True, exist_ok=True)
    with (home / f"{what}.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NightRunningError(f"another {what} is running in {home}; wait until it ends, or stop it") from None
        yield


@contextmanager
def wait_for_lock(home: Path, what: str) -> Iterator[None]:
    """Hold a lock of the home; wait until no other process holds it."""
    with (home / f"{what}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def is_locked(home: Path, *what: str) -> bool:
    """Whether any of these locks of the home is held at this moment."""
    try:
        for name in what:
            with home_lock(home, name):
                pass
    except NightRunningError:
        return True
    return False
