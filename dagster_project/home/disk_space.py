"""Free disk space: whether it is enough for a night, and whether a night failed because the disk was full."""

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
    """The home's disk has too little free space to start a night, or became full during a night."""


def check_disk_space(home: Path, waiting: int, warehouse: Path, snapshot: Path | None) -> None:
    """Refuse to start a night that would fill the disk.

    A night writes every waiting file twice (as typed rows, and as the original). It also writes a new warehouse beside
    the old one, and a new snapshot beside the current one.

    Args:
        home: the data folder.
        waiting: total size of the waiting files in bytes.
        warehouse: the warehouse's database file, which may be missing.
        snapshot: the current snapshot's folder; None if there is no snapshot.

    Raises:
        DiskFullError: there is less free space than the night needs.
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
    """Say why a run failed, and what to do, if the disk was full; return None if the disk was not full.

    The error messages in `failures` count, too, because the failed run may have released its space since then.
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
