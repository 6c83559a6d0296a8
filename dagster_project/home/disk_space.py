"""Checks of free disk space before a night, and after a night that failed because the disk may have been full."""

import shutil
from collections.abc import Iterable
from pathlib import Path

# About this many bytes are written by every run, even for a small book: logs, the databases of Dagster and MLflow, a
# model.
_FIXED = 64 << 20
# A disk with fewer free bytes than this counts as full.
_FULL = 1 << 20
# Texts in the error messages of Parquet, DuckDB and SQLite when the disk is full.
_FULL_MESSAGES = ("no space left", "disk is full", "disk quota exceeded")


class DiskFullError(RuntimeError):
    """Raised if the disk of the home has too little free space for a night, or became full during a night."""


def check_disk_space(home: Path, waiting: int, warehouse: Path, snapshot: Path | None) -> None:
    """Raise an error if the disk has less free space than a night may need.

    A night writes every waiting file twice: as typed rows and as an encrypted original. It also writes a new warehouse
    and a new snapshot while the old ones still exist.

    Args:
        home: the data folder.
        waiting: the total size of the waiting files in bytes.
        warehouse: the database file of the warehouse, which may not exist yet.
        snapshot: the folder of the current snapshot, or None if there is no snapshot.

    Raises:
        DiskFullError: if there is less free space than the night may need.
    """
    built = warehouse.stat().st_size if warehouse.exists() else 0
    shown = sum(p.stat().st_size for p in snapshot.iterdir()) if snapshot else 0
    need, free = _FIXED + 2 * waiting + built + shown, shutil.disk_usage(home).free
    if free < need:
        raise DiskFullError(
            f"{home} has {_mb(free)} free and this night may need {_mb(need)}: free some space, then start it again. "
            "Nothing was started; the published snapshot is unchanged"
        )


def disk_full_reason(home: Path, failures: Iterable[str]) -> str | None:
    """Return a message for the user if a run failed because the disk was full, or None if the disk was not full.

    The disk counts as full if less than 1 MiB is free now, or if one of the error messages in `failures` mentions a
    full disk. The messages are checked too because the failed run may have freed its space in the meantime.
    """
    free = shutil.disk_usage(home).free
    if free >= _FULL and not any(text in failure.lower() for failure in failures for text in _FULL_MESSAGES):
        return None
    return (
        f"the disk of {home} was full ({_mb(free)} free now): free some space and start again; the run continues where "
        "it stopped"
    )


def _mb(count: int) -> str:
    return f"{count / (1 << 20):,.0f} MB"
