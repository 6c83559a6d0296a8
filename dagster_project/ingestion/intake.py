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

from dagster_project.ingestion.commit import commit, write_missing_audit_rows
from dagster_project.ingestion.contracts.contract import Table
from dagster_project.ingestion.contracts.source import Source
from dagster_project.ingestion.delivery import Delivered, Taken, duplicate, hold_back, refuse, take_in, with_vault
from dagster_project.ingestion.lake.context import IngestContext, forward
from dagster_project.ingestion.lake.files import sweep
from dagster_project.ingestion.lake.landing import landing_day, waiting
from dagster_project.ingestion.lake.receipts import TAKEN_IN, Receipt
from dagster_project.ingestion.lake.row_index import KnownRows
from dagster_project.ingestion.parsing.decompress import unpack
from dagster_project.ingestion.parsing.manifest import keep_manifest, kept_manifest, manifest_of, read_manifest
from dagster_project.ingestion.parsing.records import DeliveryRefusedError
from dagster_project.ingestion.persons.originals import flush_originals, keep_original, open_original, sweep_originals

P = ParamSpec("P")
# Receipts that share a transaction: to flush them one by one took as long as to read a day's file. The keys of so many
# rows are held in memory, and what so many tell of persons.
_BATCH, _BATCH_ROWS, _BATCH_PERSONAL_VALUES = 32, 4_000_000, 250_000
# Polars works outside of Python's lock; more readers hold more files in memory, and a machine may have two cores. The
# third is for what waits for the lock: two took 6 % longer.
_READERS = 3


def ingest(
    source: Source,
    context: IngestContext,
    now: datetime,
    on: date | None = None,
    days: Collection[date] | None = None,
) -> list[Receipt]:
    """Take in the waiting files of a source; returns the receipts written, in order.

    Args:
        source: its contract and adapter.
        context: landing folder, lake and keys.
        now: the clock that the receipts show, in UTC.
        on: the day of a replay, see `waiting`.
        days: only the files of these landing days.
    """
    files = waiting(source, context, on)
    if days is not None:
        files = [p for p in files if landing_day(source, p) in days]
    return ingest_files(files, source, context, now)


def ingest_files(files: list[Path], source: Source, context: IngestContext, now: datetime) -> list[Receipt]:
    """Take in these files; returns the receipts written, in their order. The leftover of a crash gets none."""
    prepare(source, context)
    if not files:
        return []
    known_rows = KnownRows(source.contract, context.lake, context.book.all(source.name))
    with context.key_store.kept_open(), ThreadPoolExecutor(_READERS) as readers, ThreadPoolExecutor(1) as committer:
        intake = _Intake(source, context, forward(now, context), readers, committer, known_rows)
        try:
            for path in files:
                intake.add(path)
            intake.finish()
        finally:
            intake.wait_for_batch()
    known_rows.save()
    return intake.committed


def prepare(source: Source, context: IngestContext) -> None:
    """What is done before anything is written: clear away what a crash left, and look at the key.

    Raises:
        MasterKeyError: this lake was begun with another key.
    """
    sweep(context.lake)
    context.book.key_mark(context.keys.mark)
    context.check_key()
    context.key_store.upgrade()
    write_missing_audit_rows(context)
    _mark_moved_originals(source, context)
    sweep_originals(context, source.name)


def read_original(receipt: Receipt, context: IngestContext) -> Delivered:
    """The file of a receipt as it was delivered, from where originals are kept.

    Raises:
        OriginalMissingError, KeyDestroyedError: it is no longer there.
        LakeCorruptionError: it is damaged.
    """
    content = open_original(context, receipt.source, receipt.sha256)
    manifest = read_manifest(kept_manifest(context.lake, receipt.source, receipt.sha256))
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
    context: IngestContext
    now: datetime
    readers: Executor
    committer: Executor
    known_rows: KnownRows
    committed: list[Receipt] = field(default_factory=list)
    _reading: list[_Handed] = field(default_factory=list)
    _committing: tuple[set[str], Future[None]] = field(default_factory=_nothing)
    _in_hand: deque[Future[Taken]] = field(default_factory=deque)
    _layout: Table | None = None

    def add(self, path: Path) -> None:
        """Hash a file; have it read, or say that it was taken in before."""
        if self._committing[1].done():
            self.wait_for_batch()
        file, refused = _open(path)
        layout = self.source.contract.layout_of(path.name)
        once = layout is not None and layout.delivered_once
        # What becomes of this one may depend on what became of those before it: payments are looked at beside loans.
        on_their_way = {sha256 for _, sha256, _ in self._reading} | self._committing[0]
        if once or layout != self._layout or file.sha256 in on_their_way:
            self.finish()
        self._layout = layout
        leftover = self.context.book.unarchived(self.source.name, file.sha256, path.name)
        if leftover is not None:
            _archive([(path, file.sha256)], [leftover], self.source.name, self.context)  # its original is kept already
            return
        earlier = self.context.book.find(self.source.name, file.sha256, self.source.contract.version)
        if earlier:
            task = self._read(file, duplicate, earlier, path.name, self.now)
        elif refused:
            task = self._read(file, refuse, file, self.source, self.now, refused)
        elif once and layout and has_accepted(layout, self.source, self.context):
            task = self._read(file, hold_back, file, self.source, self.now)
        else:
            task = self._read(file, self._take_in, file, compare=False)
        self._reading.append((path, file.sha256, task))
        self._in_hand.append(task)
        if len(self._in_hand) > _READERS:
            self._in_hand.popleft().result()  # so that few files are in memory at once
        done = [task.result() for _, _, task in self._reading if task.done()]
        rows, personal_values = (
            sum(t.receipt.landed_rows for t in done),
            sum(t.personal_values.height for t in done if t.personal_values),
        )
        if len(self._reading) >= _BATCH or rows > _BATCH_ROWS or personal_values > _BATCH_PERSONAL_VALUES:
            self.commit()

    def _read(self, file: Delivered, read: Callable[P, Taken], *args: P.args, **more: P.kwargs) -> Future[Taken]:
        """Have a file read, and its original written, encrypted."""

        def both() -> Taken:
            taken = read(*args, **more)
            keep_original(file.content, self.source, self.context, taken.receipt)
            return taken

        return self.readers.submit(both)

    def finish(self) -> None:
        """Commit all that was handed out, and wait for it."""
        self.commit()
        self.wait_for_batch()

    def wait_for_batch(self) -> None:
        """Wait for the batch that is committed, and raise what went wrong with it, before anything else that did."""
        self._committing[1].result()

    def commit(self) -> None:
        """Have the files that were handed out committed, after the batch before them; others are read meanwhile."""
        self.wait_for_batch()
        handed, self._reading = self._reading, []
        self._committing = {sha256 for _, sha256, _ in handed}, self.committer.submit(self._commit, handed)

    def _commit(self, handed: list[_Handed]) -> None:
        """Write the receipts of these files, in order and in one transaction; then archive."""
        if not handed:
            return
        taken = [task.result() for _, _, task in handed]
        if self.known_rows.may_contain(t.keys for t in taken):
            taken = [self._one_by_one(path, t) for (path, _, _), t in zip(handed, taken, strict=True)]
        else:
            self.known_rows.add([(t.receipt, t.keys) for t in taken])
        receipts = with_vault(taken, self.source, self.context, self.known_rows)
        self.known_rows.note(receipts)
        flush_originals(self.context, self.source.name, [r.sha256 for r in receipts])
        numbers = commit(receipts, self.context)
        _archive([(path, sha256) for path, sha256, _ in handed], numbers, self.source.name, self.context)
        self.committed += receipts

    def _take_in(self, file: Delivered, *, compare: bool) -> Taken:
        return take_in(file, self.source, self.context, self.known_rows, self.now, compare=compare)

    def _one_by_one(self, path: Path, taken: Taken) -> Taken:
        """Read a file again beside what is known, if it may have a row that is."""
        if self.known_rows.may_contain([taken.keys]):
            file, _ = _open(path)
            if file.sha256 != taken.receipt.sha256:
                raise DeliveryChangedError(
                    f"{path} was written to while it was read. Write a file under a name that begins with a dot and "
                    "rename it, or have the contract ask for manifests"
                )
            taken = self._take_in(file, compare=True)
        self.known_rows.add([(taken.receipt, taken.keys)])
        return taken


def has_accepted(layout: Table, source: Source, context: IngestContext) -> bool:
    """Whether a file of this layout was accepted, in whole or in part."""
    accepted = (r for r in context.book.all(source.name) if r.state in TAKEN_IN)
    return any(source.contract.layout_of(r.file_name) == layout for r in accepted)


def _open(path: Path) -> tuple[Delivered, DeliveryRefusedError | None]:
    """A file's unpacked content, by which it is known; that of one that is refused, as it is."""
    content, refused = path.read_bytes(), None
    try:
        content = unpack(path.name, content)
    except DeliveryRefusedError as error:
        refused = error
    return Delivered(path.name, content, hashlib.sha256(content).hexdigest(), read_manifest(manifest_of(path))), refused


def _archive(files: list[tuple[Path, str]], numbers: list[int], source: str, context: IngestContext) -> None:
    """Take files out of the landing folder, their encrypted originals being kept; then say so."""
    for path, sha256 in files:
        keep_manifest(path, context.lake, source, sha256)
        path.unlink()
        manifest_of(path).unlink(missing_ok=True)  # last: without the manifest that it needs a file waits for ever
    context.book.mark_archived(numbers)


def _mark_moved_originals(source: Source, context: IngestContext) -> None:
    """Say of originals that a crash had moved, and not marked, that they are archived."""
    landing = context.landing / source.name
    moved = [(n, name) for n, name in context.book.all_unarchived(source.name) if not (landing / name).exists()]
    for _, name in moved:
        manifest_of(landing / name).unlink(missing_ok=True)
    if moved:
        context.book.mark_archived([n for n, _ in moved])
