"""Indexes of the keys of a raw table, with which a key is searched for without reading the table.

An index consists of runs, which are sorted arrays of 64-bit key hashes. Runs are merged as they grow, so their number
stays small. `KeyIndex` finds out whether a table may contain a key. `KeyPlaces` also finds the lake files that may
contain it.

An index never misses a key. Because two keys can have the same hash, it may report a key that the table does not
contain. The caller must therefore compare the rows.
"""

import json
from collections.abc import Collection, Container, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dagster_project.home.files import flush, replace_text
from dagster_project.ingestion.parsing.key_hash import HASHING, key_hash

Hashes = NDArray[np.uint64]
# A new run is merged with the previous run if it is at least this many times as long. With 1, runs and merges are few.
_MERGE_FROM = 1.0
_FILES_AT_ONCE = 64


def key_hashes(files: Iterable[Path], key: list[str]) -> Hashes:
    """Return the sorted hashes of the keys in these Parquet files.

    `key` has the names of the key's columns. If a key occurs twice, its hash is in the result twice. If there are no
    files, the result is empty.
    """
    parts = [
        pl.scan_parquet(chunk).select(key_hash(key)).collect().to_series().to_numpy()
        for chunk in _chunks(sorted(files))
    ]
    return merge_runs(parts) if parts else np.empty(0, dtype=np.uint64)


def _chunks(files: list[Path]) -> Iterator[list[Path]]:
    for begin in range(0, len(files), _FILES_AT_ONCE):
        yield files[begin : begin + _FILES_AT_ONCE]


class KeyIndex:
    """An index of the keys of one raw table.

    `runs` has the names of the files with the runs of this index, oldest first. The files are in `folder`.
    """

    def __init__(self, folder: Path, runs: tuple[str, ...]) -> None:
        self._folder, self.runs = folder, runs

    def contains_any(self, hashes: Hashes) -> bool:
        """Return whether the index contains at least one of these sorted hashes.

        The files of the runs are memory-mapped, so only parts of them are read.
        """
        for name in self.runs:
            run = np.load(self._folder / name, mmap_mode="r")
            position = np.searchsorted(run, hashes)
            inside = position < len(run)
            if (run[position[inside]] == hashes[inside]).any():
                return True
        return False

    def add(self, hashes: Hashes, name: str) -> "KeyIndex":
        """Return a new index that also contains these sorted hashes.

        The hashes are written to a new run with the given name. Earlier runs that are not longer are merged into it.
        The files of the existing index do not change.
        """
        kept = list(self.runs)
        while kept:
            last = np.load(self._folder / kept[-1], mmap_mode="r")
            if len(hashes) < _MERGE_FROM * len(last):
                break
            hashes = _merged(last, hashes)
            kept.pop()
        _write_run(self._folder / f"{name}.npy", hashes)
        return KeyIndex(self._folder, (*kept, f"{name}.npy"))

    def sweep(self) -> None:
        """Remove the files of runs that do not belong to this index from its folder."""
        _sweep(self._folder, self.runs)


def _merged(one: Hashes, other: Hashes) -> Hashes:
    """Merge two sorted runs into one.

    A stable sort needs only one pass over two sorted runs, and works in place. This matters for large runs.
    """
    both = np.concatenate([one, other])
    both.sort(kind="stable")
    return both


def merge_runs(parts: Sequence[Hashes]) -> Hashes:
    """Merge many short sorted runs into one.

    `parts` must have at least one run.
    """
    merged = np.concatenate(parts)
    merged.sort()
    return merged


def _write_run(path: Path, hashes: Hashes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp.npy")
    np.save(temporary, hashes)
    flush(temporary)
    temporary.replace(path)


def _sweep(folder: Path, runs: Collection[str]) -> None:
    for path in folder.glob("*.npy"):
        if path.name not in runs:
            path.unlink()


# An entry of `KeyPlaces` consists of the upper bits of the key's hash and the lowest bits of the file's number. With
# 20 bits for the file, nearly every batch of millions of rows had two keys with equal upper bits, and was read twice.
_FILE_BITS = 12
_FILE = np.uint64(2**_FILE_BITS - 1)
# The filter has one-byte slots: at least this many per entry, and at most 2**28 (256 MB).
_SLOTS_PER_ENTRY, _MAX_SLOTS_BITS = 4, 28


class KeyPlaces:
    """An index that finds, for each key of one raw table, the lake files that may contain the key.

    For a given key, the result may include files that do not contain it, but never leaves out a file that does. The
    index is kept in memory during an intake, and `save` stores it for the next intake. If the stored index is lost or
    out of date, the caller must add the missing lake files again.
    """

    def __init__(self, folder: Path, key: list[str], committed: Container[str]) -> None:
        """Load the index that was saved in `folder`.

        The index starts empty if there is no saved index, if one of its runs is missing, or if it was made with another
        key or hash function. It also starts empty if it contains a file that is not in `committed`. This is the case
        after an older state of the lake was restored from a backup.
        """
        self._folder, self._index_file = folder, folder / "places.json"
        self._made_with = {"hashing": HASHING, "key": key}
        saved = json.loads(self._index_file.read_text()) if self._index_file.exists() else {}
        self._names: list[str | None] = []  # file names of the runs; None for a run that is not saved yet
        self._runs: list[Hashes] = []
        self.files: list[str] = []
        usable = saved.get("made_with") == self._made_with and all((folder / name).exists() for name in saved["runs"])
        if usable and all(file in committed for file in saved["files"]):
            self.files, self._names = saved["files"], saved["runs"]
            self._runs = [np.load(folder / name, mmap_mode="r") for name in saved["runs"]]
        self._slots: NDArray[np.bool_] | None = None
        self._lookups = 0

    def __len__(self) -> int:
        return sum(map(len, self._runs))

    def contains_any(self, hashes: Hashes) -> bool:
        """Return whether any lake file may contain at least one of these sorted hashes."""
        self._lookups += len(hashes)
        if self._slots is None and self._lookups * _SLOTS_PER_ENTRY > len(self):
            self._make_slots(len(hashes))
        if self._slots is not None:
            hashes = hashes[self._slots[self._slot(hashes)]]
        return any(bool((last > first).any()) for first, last in (_span(run, hashes) for run in self._runs))

    def files_with(self, hashes: Hashes) -> set[str]:
        """Return the lake files that may contain at least one of these sorted hashes."""
        numbers: set[int] = set()
        for run in self._runs:
            first, last = _span(run, hashes)
            for begin, end in zip(first[last > first].tolist(), last[last > first].tolist(), strict=True):
                numbers |= set((run[begin:end] & _FILE).tolist())
        return {file for number in numbers for file in self.files[number :: int(_FILE) + 1]}

    def add(self, files: Iterable[tuple[str, Hashes]]) -> None:
        """Add lake files to the index.

        Each item of `files` is the name of a file and the hashes of the keys in it.
        """
        parts = []
        for file, hashes in files:
            parts.append((hashes & ~_FILE) | (np.uint64(len(self.files)) & _FILE))
            self.files.append(file)
        if not parts or not (run := merge_runs(parts)).size:
            return
        if self._slots is not None:
            if len(self._slots) < min(_SLOTS_PER_ENTRY * (len(self) + len(run)), 2**_MAX_SLOTS_BITS):
                self._slots = None  # the next lookups build a larger filter
            else:
                self._slots[self._slot(run)] = True
        while self._runs and len(run) >= _MERGE_FROM * len(self._runs[-1]):
            run = _merged(self._runs.pop(), run)
            self._names.pop()
        self._runs.append(run)
        self._names.append(None)

    def save(self) -> None:
        """Write the runs that are not saved yet to disk, and remove the files of runs that were merged."""
        if None not in self._names:
            return
        # The number of files grows with every new run, so the names are unique.
        self._names = [name or f"{len(self.files)}-{number}.npy" for number, name in enumerate(self._names)]
        new = [(n, run) for n, run in zip(self._names, self._runs, strict=True) if not isinstance(run, np.memmap)]
        with ThreadPoolExecutor() as writers:  # threads, because writing waits for the disk
            list(writers.map(lambda item: _write_run(self._folder / str(item[0]), item[1]), new))
        values = {"made_with": self._made_with, "files": self.files, "runs": self._names}
        replace_text(self._index_file, json.dumps(values))
        _sweep(self._folder, set(map(str, self._names)))

    def _make_slots(self, more: int) -> None:
        wanted = 2 * _SLOTS_PER_ENTRY * (len(self) + more)
        self._slots = np.zeros(2 ** min(_MAX_SLOTS_BITS, max(10, wanted.bit_length())), dtype=np.bool_)
        for run in self._runs:
            self._slots[self._slot(run)] = True

    def _slot(self, hashes: Hashes) -> NDArray[np.uint64]:
        """Return the slot in the filter for each hash.

        The slot number consists of the upper bits of the hash. Sorted hashes therefore access the filter's memory in
        order.
        """
        bits = len(self._slots).bit_length() - 1 if self._slots is not None else 0
        return hashes >> np.uint64(64 - bits)


def _span(run: Hashes, hashes: Hashes) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the range of positions in the run that match each hash, as (first, last + 1).

    The two positions are equal if the run does not contain the hash. Only the upper bits are compared, because the
    lowest bits of an entry in the run are the number of its file.
    """
    upper = hashes & ~_FILE
    first = np.searchsorted(run, upper)
    # Nearly all hashes are new, so only the few hashes in the run need the second search.
    last = first.copy()
    inside = first < len(run)
    is_found = np.zeros(len(first), dtype=bool)
    is_found[inside] = (run[first[inside]] & ~_FILE) == upper[inside]
    last[is_found] = np.searchsorted(run, upper[is_found] | _FILE, side="right")
    return first, last
