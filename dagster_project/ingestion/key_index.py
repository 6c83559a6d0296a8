"""Which keys a raw table has: their 64-bit hashes in sorted runs on disk, asked without reading the table.

An index may say that a key is known that is not (two keys of one hash), and never the opposite; whoever asks must then
look at the rows. Runs are merged as they grow, so that there are few of them.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
# A run is merged with the one before it once it is this part of its size: few runs to ask, and few merges.
_MERGE_FROM = 0.25
_FILES_AT_ONCE = 64


def key_hashes(files: Iterable[Path], key: list[str]) -> Hashes:
    """Hashes of the keys of these Parquet files, sorted; a key that stands there twice is there twice."""
    parts = [
        pl.scan_parquet(chunk).select(pl.struct(key).hash(seed=1)).collect().to_series().to_numpy()
        for chunk in _chunks(sorted(files))
    ]
    return np.sort(np.concatenate(parts)) if parts else np.empty(0, dtype=np.uint64)


def _chunks(files: list[Path]) -> Iterator[list[Path]]:
    for begin in range(0, len(files), _FILES_AT_ONCE):
        yield files[begin : begin + _FILES_AT_ONCE]


class KeyIndex:
    """The runs of one raw table, `runs` being the names of the files that count, oldest first."""

    def __init__(self, folder: Path, runs: tuple[str, ...]) -> None:
        self._folder, self.runs = folder, runs

    def knows_any(self, hashes: Hashes) -> bool:
        """Whether one of these (sorted) hashes is known; reads only what it must of each run."""
        for name in self.runs:
            run = np.load(self._folder / name, mmap_mode="r")
            place = np.searchsorted(run, hashes)
            inside = place < len(run)
            if (run[place[inside]] == hashes[inside]).any():
                return True
        return False

    def add(self, hashes: Hashes, name: str) -> "KeyIndex":
        """The index with one more run, written as `name`; the files of older indexes stay as they are."""
        kept = list(self.runs)
        while kept:
            last = np.load(self._folder / kept[-1], mmap_mode="r")
            if len(hashes) < _MERGE_FROM * len(last):
                break
            hashes = np.sort(np.concatenate([last, hashes]), kind="stable")  # two sorted runs are merged in one pass
            kept.pop()
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary = self._folder / f"{name}.tmp.npy"
        np.save(temporary, hashes)
        temporary.replace(self._folder / f"{name}.npy")
        return KeyIndex(self._folder, (*kept, f"{name}.npy"))

    def sweep(self) -> None:
        """Remove the runs that no longer count."""
        for path in self._folder.glob("*.npy"):
            if path.name not in self.runs:
                path.unlink()
