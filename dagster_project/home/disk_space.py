"""Room on the disk: whether a night will find enough of it, and whether it was what a night ran out of."""

import shutil
from collections.abc import Iterable
from pathlib import Path

# What a run writes however small the book is: logs, Dagster's and MLflow's databases, a model.
_FIXED = 64 << 20
# Below this a disk counts as full; and what its libraries say when it is.
_FULL = 1 << 20
_WORDS = ("no space left", "disk is full", "disk quota exceeded")


class DiskFullError(RuntimeError):
    """There is too little room in the home to begin, or it ran out."""


def check_disk_space(home: Path, waiting: int, warehouse: Path, snapshot: Path | None) -> None:
    """Refuse to begin what would fill the disk half-way.

    A night writes what waits (typed and, moved or encrypted, as it was), builds the warehouse anew beside the old one,
    and a snapshot beside the current one.

    Args:
        home: the data folder.
        waiting: bytes of the files that wait.
        warehouse: the database; may be missing.
        snapshot: the current snapshot's folder.

    Raises:
        DiskFullError: there is less room than that.
    """
    built = warehouse.stat().st_size if warehouse.exists() else 0
    shown = sum(p.stat().st_size for p in snapshot.iterdir()) if snapshot else 0
    need, free = _FIXED + 2 * waiting + built + shown, shutil.disk_usage(home).free
    if free < need:
        raise DiskFullError(
            f"{home} has {_mb(free)} free and this night may need {_mb(need)}: make room, then start it again. "
            "Nothing was begun; what is published stays"
        )


def disk_full_reason(home: Path, failures: Iterable[str]) -> str | None:
    """Of a run that failed: that the disk was full, and what to do; None if it was not that.

    Parquet, DuckDB and SQLite say so in their own words, and may have given room back since.
    """
    free = shutil.disk_usage(home).free
    if free >= _FULL and not any(words in failure.lower() for failure in failures for words in _WORDS):
        return None
    return f"the disk of {home} was full ({_mb(free)} free now): make room and start again; it goes on where it stopped"


def _mb(count: int) -> str:
    return f"{count / (1 << 20):,.0f} MB"
