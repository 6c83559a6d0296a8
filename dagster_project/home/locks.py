"""File locks in a home. The operating system releases a lock when the process that holds it ends."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# A backfill holds the lock with this name in addition to the lock of each run. Meanwhile the landing sensor starts no
# run.
BACKFILL = "backfill"


class NightRunningError(RuntimeError):
    """Raised if a lock of the home cannot be acquired because another process holds it."""


@contextmanager
def home_lock(home: Path, what: str = "night") -> Iterator[None]:
    """Hold a lock of the home during a `with` block, without waiting for another process.

    `what` is the name of the lock; by default it is the lock of a night.

    Raises:
        NightRunningError: if another process holds the lock.
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
    """Wait until no other process holds the given lock of the home, and then hold it during a `with` block."""
    with (home / f"{what}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def is_locked(home: Path, *what: str) -> bool:
    """Return whether a process holds at least one of the given locks of the home at this moment."""
    try:
        for name in what:
            with home_lock(home, name):
                pass
    except NightRunningError:
        return True
    return False
