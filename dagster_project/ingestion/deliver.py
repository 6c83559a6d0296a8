"""Taking in what waits: files are read side by side, and committed in order, a batch while the next is read.

The order is the promise: the encrypted originals and the keys are flushed first, then the Parquet files and the
vault's, the receipts last, then their rows in the audit chain, and only then do the files leave the landing folder. A
crash at any point leaves either nothing that counts, or receipts whose audit rows are written, and files taken away, on
the next start.

Files are read on the assumption that their rows are new, which the keys of the lake confirm before anything is
committed. Where one may be known, the files are read again one after the other, each beside what came before it.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Collection
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import ParamSpec

from dagster_project.ingestion.border import Border, forward
from dagster_project.ingestion.contracts import Table
from dagster_project.ingestion.delivery import Delivered, Taken, duplicate, hold_back, refuse, take_in, with_vault
from dagster_project.ingestion.known import Known
from dagster_project.ingestion.lake import sweep
from dagster_project.ingestion.landing import landing_day, waiting
from dagster_project.ingestion.manifest import keep_manifest, kept_manifest, manifest_of, read_manifest
from dagster_project.ingestion.originals import flush_originals, keep_original, open_original, sweep_originals
from dagster_project.ingestion.reading import DeliveryRefusedError
from dagster_project.ingestion.receipts import TAKEN_IN, Receipt
from dagster_project.ingestion.source import Source
from dagster_project.ingestion.trail import commit, settle
from dagster_project.ingestion.unpacking import unpack

P = ParamSpec("P")
# Receipts that share a transaction: to flush them one by one took as long as to read a day's file. The keys of so many
# rows are held in memory, and what so many tell of persons.
_BATCH, _BATCH_ROWS, _BATCH_TOLD = 32, 4_000_000, 250_000
# Polars works outside of Python's lock; more readers hold more files in memory, and a machine may have two cores. The
# third is for what waits for the lock: two took 6 % longer.
_READERS = 3


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
    prepare(source, border)
    if not files:
        return []
    known = Known(source.contract, border.lake, border.book.all(source.name))
    with border.key_store.kept_open(), ThreadPoolExecutor(_READERS) as readers, ThreadPoolExecutor(1) as committer:
        intake = _Intake(source, border, forward(now, border), readers, committer, known)
        try:
            for path in files:
                intake.add(path)
            intake.finish()
        finally:
            intake.settled()
    known.save()
    return intake.committed


def prepare(source: Source, border: Border) -> None:
    """What is done before anything is written: clear away what a crash left, and look at the key.

    Raises:
        MasterKeyError: this lake was begun with another key.
    """
    sweep(border.lake)
    border.book.key_mark(border.keys.mark)
    border.check_key()
    border.key_store.upgrade()
    settle(border)
    _settle(source, border)
    sweep_originals(border, source.name)


def read_original(receipt: Receipt, border: Border) -> Delivered:
    """The file of a receipt as it was delivered, from where originals are kept.

    Raises:
        OriginalMissingError, KeyDestroyedError: it is no longer there.
        LakeCorruptionError: it is damaged.
    """
    content = open_original(border, receipt.source, receipt.sha256)
    manifest = read_manifest(kept_manifest(border.lake, receipt.source, receipt.sha256))
    return Delivered(receipt.file_name, content, receipt.sha256, manifest)


class DeliveryChangedError(RuntimeError):
    """A file was written to while it was read: it had not arrived yet."""


_Handed = tuple[Path, str, Future[Taken]]  # a file, its sha256, and what is made of it


def _nothing() -> tuple[set[str], Future[None]]:
    done: Future[None] = Future()
    done.set_result(None)
    return set(), done


@dataclass
class _Intake:
    """Files on their way: those that were handed to a reader, a batch that is committed meanwhile, and receipts."""

    source: Source
    border: Border
    now: datetime
    readers: Executor
    committer: Executor
    known: Known
    committed: list[Receipt] = field(default_factory=list)
    _reading: list[_Handed] = field(default_factory=list)
    _committing: tuple[set[str], Future[None]] = field(default_factory=_nothing)
    _in_hand: deque[Future[Taken]] = field(default_factory=deque)
    _layout: Table | None = None

    def add(self, path: Path) -> None:
        """Hash a file; have it read, or say that it was taken in before."""
        if self._committing[1].done():
            self.settled()
        file, refused = _open(path)
        layout = self.source.contract.layout_of(path.name)
        once = layout is not None and layout.delivered_once
        # What becomes of this one may depend on what became of those before it: payments are looked at beside loans.
        on_their_way = {sha256 for _, sha256, _ in self._reading} | self._committing[0]
        if once or layout != self._layout or file.sha256 in on_their_way:
            self.finish()
        self._layout = layout
        leftover = self.border.book.unarchived(self.source.name, file.sha256, path.name)
        if leftover is not None:
            _archive([(path, file.sha256)], [leftover], self.source.name, self.border)  # its original is kept already
            return
        earlier = self.border.book.find(self.source.name, file.sha256, self.source.contract.version)
        if earlier:
            task = self._read(file, duplicate, earlier, path.name, self.now)
        elif refused:
            task = self._read(file, refuse, file, self.source, self.now, refused)
        elif once and layout and has_accepted(layout, self.source, self.border):
            task = self._read(file, hold_back, file, self.source, self.now)
        else:
            task = self._read(file, self._take_in, file, compare=False)
        self._reading.append((path, file.sha256, task))
        self._in_hand.append(task)
        if len(self._in_hand) > _READERS:
            self._in_hand.popleft().result()  # so that few files are in memory at once
        done = [task.result() for _, _, task in self._reading if task.done()]
        rows, told = sum(t.receipt.landed_rows for t in done), sum(t.told.height for t in done if t.told)
        if len(self._reading) >= _BATCH or rows > _BATCH_ROWS or told > _BATCH_TOLD:
            self.commit()

    def _read(self, file: Delivered, read: Callable[P, Taken], *args: P.args, **more: P.kwargs) -> Future[Taken]:
        """Have a file read, and its original written, encrypted."""

        def both() -> Taken:
            taken = read(*args, **more)
            keep_original(file.content, self.source, self.border, taken.receipt)
            return taken

        return self.readers.submit(both)

    def finish(self) -> None:
        """Commit all that was handed out, and wait for it."""
        self.commit()
        self.settled()

    def settled(self) -> None:
        """Wait for the batch that is committed, and raise what went wrong with it, before anything else that did."""
        self._committing[1].result()

    def commit(self) -> None:
        """Have the files that were handed out committed, after the batch before them; others are read meanwhile."""
        self.settled()
        handed, self._reading = self._reading, []
        self._committing = {sha256 for _, sha256, _ in handed}, self.committer.submit(self._commit, handed)

    def _commit(self, handed: list[_Handed]) -> None:
        """Write the receipts of these files, in order and in one transaction; then archive."""
        if not handed:
            return
        taken = [task.result() for _, _, task in handed]
        if self.known.may_know(t.keys for t in taken):
            taken = [self._one_by_one(path, t) for (path, _, _), t in zip(handed, taken, strict=True)]
        else:
            self.known.add([(t.receipt, t.keys) for t in taken])
        receipts = with_vault(taken, self.source, self.border, self.known)
        self.known.note(receipts)
        flush_originals(self.border, self.source.name, [r.sha256 for r in receipts])
        numbers = commit(receipts, self.border)
        _archive([(path, sha256) for path, sha256, _ in handed], numbers, self.source.name, self.border)
        self.committed += receipts

    def _take_in(self, file: Delivered, *, compare: bool) -> Taken:
        return take_in(file, self.source, self.border, self.known, self.now, compare=compare)

    def _one_by_one(self, path: Path, taken: Taken) -> Taken:
        """Read a file again beside what is known, if it may have a row that is."""
        if self.known.may_know([taken.keys]):
            file, _ = _open(path)
            if file.sha256 != taken.receipt.sha256:
                raise DeliveryChangedError(
                    f"{path} was written to while it was read. Write a file under a name that begins with a dot and "
                    "rename it, or have the contract ask for manifests"
                )
            taken = self._take_in(file, compare=True)
        self.known.add([(taken.receipt, taken.keys)])
        return taken


def has_accepted(layout: Table, source: Source, border: Border) -> bool:
    """Whether a file of this layout was accepted, in whole or in part."""
    accepted = (r for r in border.book.all(source.name) if r.state in TAKEN_IN)
    return any(source.contract.layout_of(r.file_name) == layout for r in accepted)


def _open(path: Path) -> tuple[Delivered, DeliveryRefusedError | None]:
    """A file's unpacked content, by which it is known; that of one that is refused, as it is."""
    content, refused = path.read_bytes(), None
    try:
        content = unpack(path.name, content)
    except DeliveryRefusedError as error:
        refused = error
    return Delivered(path.name, content, hashlib.sha256(content).hexdigest(), read_manifest(manifest_of(path))), refused


def _archive(files: list[tuple[Path, str]], numbers: list[int], source: str, border: Border) -> None:
    """Take files out of the landing folder, their encrypted originals being kept; then say so."""
    for path, sha256 in files:
        keep_manifest(path, border.lake, source, sha256)
        path.unlink()
        manifest_of(path).unlink(missing_ok=True)  # last: without the manifest that it needs a file waits for ever
    border.book.mark_archived(numbers)


def _settle(source: Source, border: Border) -> None:
    """Say of originals that a crash had moved, and not marked, that they are archived."""
    landing = border.landing / source.name
    moved = [(n, name) for n, name in border.book.all_unarchived(source.name) if not (landing / name).exists()]
    for _, name in moved:
        manifest_of(landing / name).unlink(missing_ok=True)
    if moved:
        border.book.mark_archived([n for n, _ in moved])
