"""Taking in what waits: files are read side by side, and committed in order.

The order is the promise: the Parquet files first, the receipts last, then their rows in the audit chain, and only then
do the originals leave the landing folder. A crash at any point leaves either nothing that counts, or receipts whose
audit rows are written, and originals archived, on the next start.
"""

import hashlib
from collections.abc import Collection
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path

from dagster_project.ingestion.border import Border, forward
from dagster_project.ingestion.contracts import Table
from dagster_project.ingestion.delivery import duplicate, hold_back, take_in
from dagster_project.ingestion.lake import sweep
from dagster_project.ingestion.landing import landing_day, waiting
from dagster_project.ingestion.receipts import Receipt, State
from dagster_project.ingestion.source import Source
from dagster_project.ingestion.trail import commit, settle

# Receipts that share a transaction: to flush them one by one took as long as to read a day's file.
_BATCH = 32
# Polars works outside of Python's lock; more readers hold more files in memory, and a machine may have two cores.
_READERS = 2


def ingest(
    source: Source,
    border: Border,
    now: datetime,
    on: date | None = None,
    days: Collection[date] | None = None,
) -> list[Receipt]:
    """Take in the waiting files of a source; returns the receipts written, in order.

    Args:
        source: its contract and adapter.
        border: landing folder, lake and keys.
        now: the clock that the receipts show, in UTC.
        on: the day of a replay, see `waiting`.
        days: only the files of these landing days.
    """
    files = waiting(source, border, on)
    if days is not None:
        files = [p for p in files if landing_day(source, p) in days]
    return ingest_files(files, source, border, now)


def ingest_files(files: list[Path], source: Source, border: Border, now: datetime) -> list[Receipt]:
    """Take in these files; returns the receipts written, in their order. The leftover of a crash gets none."""
    sweep(border.lake)
    border.book.key_mark(border.keys.mark)
    border.check_key()
    settle(border)
    _settle(source, border)
    if not files:
        return []
    with ThreadPoolExecutor(_READERS) as readers:
        intake = _Intake(source, border, forward(now, border), readers)
        for path in files:
            intake.add(path)
        intake.commit()
    return intake.committed


@dataclass
class _Intake:
    """Files on their way: those that were handed to a reader, and the receipts that are committed."""

    source: Source
    border: Border
    now: datetime
    readers: Executor
    committed: list[Receipt] = field(default_factory=list)
    _reading: list[tuple[Path, str, Future[Receipt]]] = field(default_factory=list)

    def add(self, path: Path) -> None:
        """Hash a file; have it read, or say that it was taken in before."""
        content = path.read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        layout = self.source.contract.layout_of(path.name)
        once = layout is not None and layout.delivered_once
        if once or any(sha256 == other for _, other, _ in self._reading):
            self.commit()  # what becomes of this one depends on what became of those before it
        leftover = self.border.book.unarchived(self.source.name, sha256, path.name)
        if leftover is not None:
            _archive([(path, sha256)], [leftover], self.source.name, self.border)
            return
        earlier = self.border.book.find(self.source.name, sha256, self.source.contract.version)
        file = (path.name, content, sha256, self.source)
        if earlier:
            task = self.readers.submit(duplicate, earlier, path.name, self.now)
        elif once and layout and self._has_accepted(layout):
            task = self.readers.submit(hold_back, *file, self.now)
        else:
            task = self.readers.submit(take_in, *file, self.border, self.now)
        self._reading.append((path, sha256, task))
        if len(self._reading) > _READERS:
            self._reading[-_READERS - 1][2].result()  # so that few files are in memory at once
        if len(self._reading) >= _BATCH:
            self.commit()

    def commit(self) -> None:
        """Write the receipts of all files that were handed out, in order and in one transaction; then archive."""
        if not self._reading:
            return
        receipts = [task.result() for _, _, task in self._reading]
        numbers = commit(receipts, self.border)
        _archive([(path, sha256) for path, sha256, _ in self._reading], numbers, self.source.name, self.border)
        self.committed += receipts
        self._reading.clear()

    def _has_accepted(self, layout: Table) -> bool:
        """Whether a file of this layout was accepted, in whole or in part."""
        accepted = (r for r in self.border.book.all(self.source.name) if r.state in (State.ACCEPTED, State.PARTIAL))
        return any(self.source.contract.layout_of(r.file_name) == layout for r in accepted)


def _archive(files: list[tuple[Path, str]], numbers: list[int], source: str, border: Border) -> None:
    """Move originals out of the landing folder, under their hash and for the owner only; then say so."""
    folder = border.lake / "originals" / source
    folder.mkdir(parents=True, exist_ok=True)
    for path, sha256 in files:
        path.chmod(0o600)
        path.replace(folder / f"{sha256}{path.suffix}")
    border.book.mark_archived(numbers)


def _settle(source: Source, border: Border) -> None:
    """Say of originals that a crash had moved, and not marked, that they are archived."""
    landing = border.landing / source.name
    moved = [n for n, name in border.book.all_unarchived(source.name) if not (landing / name).exists()]
    if moved:
        border.book.mark_archived(moved)
