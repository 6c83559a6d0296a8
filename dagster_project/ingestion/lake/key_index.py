"""Which keys a raw table has: their 64-bit hashes in sorted runs, asked without reading the table.

An index may say that a key is known that is not (two keys of one hash), and never the opposite; whoever asks must then
look at the rows. Runs are merged as they grow, so that there are few of them. There are two: `KeyIndex` knows which
keys there are, `KeyPlaces` also in which files of the lake they stand.
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
# A run is merged with the one before it once it is as long: few runs to ask, and few merges.
_MERGE_FROM = 1.0
_FILES_AT_ONCE = 64


def key_hashes(files: Iterable[Path], key: list[str]) -> Hashes:
    """Hashes of the keys of these Parquet files, sorted; a key that stands there twice is there twice."""
    parts = [
        pl.scan_parquet(chunk).select(key_hash(key)).collect().to_series().to_numpy()
        for chunk in _chunks(sorted(files))
    ]
    return together(parts) if parts else np.empty(0, dtype=np.uint64)


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
            hashes = _merged(last, hashes)
            kept.pop()
        _write_run(self._folder / f"{name}.npy", hashes)
        return KeyIndex(self._folder, (*kept, f"{name}.npy"))

    def sweep(self) -> None:
        """Remove the runs that no longer count."""
        _sweep(self._folder, self.runs)


def _merged(one: Hashes, other: Hashes) -> Hashes:
    """Two sorted runs in one, which a stable sort does in one pass, and in place: runs are large."""
    both = np.concatenate([one, other])
    both.sort(kind="stable")
    return both


def together(parts: Sequence[Hashes]) -> Hashes:
    """Many short sorted runs in one."""
    all_of_them = np.concatenate(parts)
    all_of_them.sort()
    return all_of_them


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


# An entry of `KeyPlaces`: the upper bits of the key's hash, and in its lower ones the lower bits of the file's number.
# With 20 of them two keys of a batch of millions were taken for one in nearly every batch, which was then read again.
_FILE_BITS = 12
_FILE = np.uint64(2**_FILE_BITS - 1)
# Slots of the filter: one byte each, for each entry at least so many, and no more in all (256 MB).
_SLOTS_EACH, _MOST_SLOTS_BITS = 4, 28


class KeyPlaces:
    """In which files of the lake the keys of one raw table stand; it may name a file too many, and never one too few.

    It lives in memory while deliveries are taken in, and `save` keeps it for the next time. It holds nothing that the
    files do not: those that it does not have yet (after a crash, or when it is gone) are added from what they hold.
    """

    def __init__(self, folder: Path, key: list[str], committed: Container[str]) -> None:
        """What was saved in `folder`; nothing of it, if it has files that are not `committed` (a lake set back)."""
        self._folder, self._memory = folder, folder / "places.json"
        self._made_with = {"hashing": HASHING, "key": key}
        kept = json.loads(self._memory.read_text()) if self._memory.exists() else {}
        self._names: list[str | None] = []  # of the saved runs; None is one that is not saved
        self._runs: list[Hashes] = []
        self.files: list[str] = []
        usable = kept.get("made_with") == self._made_with and all((folder / name).exists() for name in kept["runs"])
        if usable and all(file in committed for file in kept["files"]):
            self.files, self._names = kept["files"], kept["runs"]
            self._runs = [np.load(folder / name, mmap_mode="r") for name in kept["runs"]]
        self._slots: NDArray[np.bool_] | None = None
        self._asked = 0

    def __len__(self) -> int:
        return sum(map(len, self._runs))

    def knows_any(self, hashes: Hashes) -> bool:
        """Whether one of these (sorted) hashes may be known."""
        self._asked += len(hashes)
        if self._slots is None and self._asked * _SLOTS_EACH > len(self):
            self._make_slots(len(hashes))
        if self._slots is not None:
            hashes = hashes[self._slots[self._slot(hashes)]]
        return any(bool((last > first).any()) for first, last in (_span(run, hashes) for run in self._runs))

    def places(self, hashes: Hashes) -> set[str]:
        """The files in which one of these (sorted) hashes may stand."""
        found: set[int] = set()
        for run in self._runs:
            first, last = _span(run, hashes)
            for begin, end in zip(first[last > first].tolist(), last[last > first].tolist(), strict=True):
                found |= set((run[begin:end] & _FILE).tolist())
        return {file for number in found for file in self.files[number :: int(_FILE) + 1]}

    def add(self, found: Iterable[tuple[str, Hashes]]) -> None:
        """Add files of the lake and the hashes of their keys."""
        parts = []
        for file, hashes in found:
            parts.append((hashes & ~_FILE) | (np.uint64(len(self.files)) & _FILE))
            self.files.append(file)
        if not parts or not (run := together(parts)).size:
            return
        if self._slots is not None:
            if len(self._slots) < min(_SLOTS_EACH * (len(self) + len(run)), 2**_MOST_SLOTS_BITS):
                self._slots = None  # made anew, and larger, when asked
            else:
                self._slots[self._slot(run)] = True
        while self._runs and len(run) >= _MERGE_FROM * len(self._runs[-1]):
            run = _merged(self._runs.pop(), run)
            self._names.pop()
        self._runs.append(run)
        self._names.append(None)

    def save(self) -> None:
        """Write what is new of it to disk."""
        if None not in self._names:
            return
        # A run is of the files up to the newest, so no name comes twice.
        self._names = [name or f"{len(self.files)}-{number}.npy" for number, name in enumerate(self._names)]
        new = [(n, run) for n, run in zip(self._names, self._runs, strict=True) if not isinstance(run, np.memmap)]
        with ThreadPoolExecutor() as writers:  # which wait for the disk
            list(writers.map(lambda item: _write_run(self._folder / str(item[0]), item[1]), new))
        values = {"made_with": self._made_with, "files": self.files, "runs": self._names}
        replace_text(self._memory, json.dumps(values))
        _sweep(self._folder, set(map(str, self._names)))

    def _make_slots(self, more: int) -> None:
        wanted = 2 * _SLOTS_EACH * (len(self) + more)
        self._slots = np.zeros(2 ** min(_MOST_SLOTS_BITS, max(10, wanted.bit_length())), dtype=np.bool_)
        for run in self._runs:
            self._slots[self._slot(run)] = True

    def _slot(self, hashes: Hashes) -> NDArray[np.uint64]:
        """The slots of sorted hashes, from their upper bits, so that memory is gone through in order."""
        bits = len(self._slots).bit_length() - 1 if self._slots is not None else 0
        return hashes >> np.uint64(64 - bits)


def _span(run: Hashes, hashes: Hashes) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """For each hash the part of the run that has it, as (first, past the last)."""
    upper = hashes & ~_FILE
    first = np.searchsorted(run, upper)
    # Nearly always there is none, and the second search is for the others alone.
    last = first.copy()
    inside = first < len(run)
    is_found = np.zeros(len(first), dtype=bool)
    is_found[inside] = (run[first[inside]] & ~_FILE) == upper[inside]
    last[is_found] = np.searchsorted(run, upper[is_found] | _FILE, side="right")
    return first, last
