"""Takes in the files that wait: parsed side by side, committed in order, one batch while the next is parsed.

The order of writes is the promise. Encrypted originals and their keys are flushed first, then the Parquet files and the
vault's, then the receipts, then their rows in the audit chain; only then do the files leave the landing folder. A crash
at any point leaves either nothing that counts, or receipts whose audit rows and moved files the next start completes.

A file is parsed on the assumption that its rows are new; the key index confirms that before anything is committed.
Where a key may be in the lake already, the file is parsed again, one file after the other, and compared row by row.
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
from dagster_project.ingestion.delivery import TakenIn, duplicate, hold_back, refuse, take_in, with_vault
from dagster_project.ingestion.lake.context import IngestContext, forward
from dagster_project.ingestion.lake.files import sweep
from dagster_project.ingestion.lake.landing import landing_day, waiting
from dagster_project.ingestion.lake.receipts import TAKEN_IN, Receipt
from dagster_project.ingestion.lake.row_index import KnownRows
from dagster_project.ingestion.parsing.decompress import unpack
from dagster_project.ingestion.parsing.manifest import keep_manifest, kept_manifest, manifest_of, read_manifest
from dagster_project.ingestion.parsing.parse import Delivered
from dagster_project.ingestion.parsing.records import DeliveryRefusedError
from dagster_project.ingestion.persons.originals import (
    flush_originals,
    keep_original,
    open_original,
    sweep_originals,
)

P = ParamSpec("P")
# Receipts share a transaction: flushing each by itself took as long as reading a day's file. The keys of a batch, and
# its personal values, are held in memory.
_BATCH, _BATCH_ROWS, _BATCH_PERSONAL_VALUES = 32, 4_000_000, 250_000
# Polars works outside of Python's lock. More readers hold more files in memory, and a machine may have two cores; with
# two readers instead of three it took 6 % longer.
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
    """Take in these files; returns the receipts written, in order. A file that a crash left behind gets none."""
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
    """Clear away what a crash left, and check the key, before anything is written.

    Raises:
        MasterKeyError: the pseudonyms of this lake were made with another key.
    """
    sweep(context.lake)
    context.book.key_mark(context.keys.mark)
    context.check_key()
    context.key_store.upgrade()
    write_missing_audit_rows(context)
    _mark_archived_files(source, context)
    sweep_originals(context, source.name)


def read_original(receipt: Receipt, context: IngestContext) -> Delivered:
    """The file of a receipt as it was delivered, from its encrypted original.

    Raises:
        OriginalMissingError, KeyDestroyedError: the original is gone.
        LakeCorruptionError: it is damaged.
    """
    content = open_original(context, receipt.source, receipt.sha256)
    manifest = read_manifest(kept_manifest(context.lake, receipt.source, receipt.sha256))
    return Delivered(receipt.file_name, content, receipt.sha256, manifest)


class DeliveryChangedError(RuntimeError):
    """A file was written to while it was read: it had not arrived completely."""


_Task = tuple[Path, str, Future[TakenIn]]  # a file, its sha256, and its result


def _no_batch() -> tuple[set[str], Future[None]]:
    done: Future[None] = Future()
    done.set_result(None)
    return set(), done


@dataclass
class _Intake:
    """The files in progress: those being parsed, the batch being committed, and the receipts committed so far."""

    source: Source
    context: IngestContext
    now: datetime
    readers: Executor
    committer: Executor
    known_rows: KnownRows
    committed: list[Receipt] = field(default_factory=list)
    _reading: list[_Task] = field(default_factory=list)
    _committing: tuple[set[str], Future[None]] = field(default_factory=_no_batch)
    _in_hand: deque[Future[TakenIn]] = field(default_factory=deque)
    _layout: Table | None = None

    def add(self, path: Path) -> None:
        """Hash a file and hand it to a reader; or to none, if it was taken in before."""
        if self._committing[1].done():
            self.wait_for_batch()
        file, refused = _unpacked(path)
        layout = self.source.contract.layout_of(path.name)
        once = layout is not None and layout.delivered_once
        # The outcome of this file may depend on those before it: payments are checked against loans.
        in_progress = {sha256 for _, sha256, _ in self._reading} | self._committing[0]
        if once or layout != self._layout or file.sha256 in in_progress:
            self.finish()
        self._layout = layout
        leftover = self.context.book.unarchived(self.source.name, file.sha256, path.name)
        if leftover is not None:
            _archive([(path, file.sha256)], [leftover], self.source.name, self.context)  # its original is kept
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

    def _read(self, file: Delivered, read: Callable[P, TakenIn], *args: P.args, **more: P.kwargs) -> Future[TakenIn]:
        """Have a reader take a file in and write its encrypted original."""

        def both() -> TakenIn:
            taken = read(*args, **more)
            keep_original(file.content, self.source, self.context, taken.receipt)
            return taken

        return self.readers.submit(both)

    def finish(self) -> None:
        """Commit the batch in progress, and wait for it."""
        self.commit()
        self.wait_for_batch()

    def wait_for_batch(self) -> None:
        """Wait for the batch that is being committed; its error comes before any later one."""
        self._committing[1].result()

    def commit(self) -> None:
        """Commit the batch in progress after the one before it, while the readers go on with the next."""
        self.wait_for_batch()
        batch, self._reading = self._reading, []
        self._committing = {sha256 for _, sha256, _ in batch}, self.committer.submit(self._commit, batch)

    def _commit(self, batch: list[_Task]) -> None:
        """Commit the receipts of a batch in order and in one transaction, then archive its files."""
        if not batch:
            return
        taken = [task.result() for _, _, task in batch]
        if self.known_rows.may_contain(t.keys for t in taken):
            taken = [self._one_by_one(path, t) for (path, _, _), t in zip(batch, taken, strict=True)]
        else:
            self.known_rows.add([(t.receipt, t.keys) for t in taken])
        receipts = with_vault(taken, self.source, self.context, self.known_rows)
        self.known_rows.note(receipts)
        flush_originals(self.context, self.source.name, [r.sha256 for r in receipts])
        numbers = commit(receipts, self.context)
        _archive([(path, sha256) for path, sha256, _ in batch], numbers, self.source.name, self.context)
        self.committed += receipts

    def _take_in(self, file: Delivered, *, compare: bool) -> TakenIn:
        return take_in(file, self.source, self.context, self.known_rows, self.now, compare=compare)

    def _one_by_one(self, path: Path, taken: TakenIn) -> TakenIn:
        """Take a file in again, compared with the lake, if a key of it may be there."""
        if self.known_rows.may_contain([taken.keys]):
            file, _ = _unpacked(path)
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


def _unpacked(path: Path) -> tuple[Delivered, DeliveryRefusedError | None]:
    """A file with its unpacked content; where unpacking is refused, with the packed content and the refusal."""
    content, refused = path.read_bytes(), None
    try:
        content = unpack(path.name, content)
    except DeliveryRefusedError as error:
        refused = error
    return Delivered(path.name, content, hashlib.sha256(content).hexdigest(), read_manifest(manifest_of(path))), refused


def _archive(files: list[tuple[Path, str]], numbers: list[int], source: str, context: IngestContext) -> None:
    """Remove files whose encrypted originals are kept from the landing folder, then mark their receipts as archived."""
    for path, sha256 in files:
        keep_manifest(path, context.lake, source, sha256)
        path.unlink()
        manifest_of(path).unlink(missing_ok=True)  # last: a file without the manifest that it needs waits for ever
    context.book.mark_archived(numbers)


def _mark_archived_files(source: Source, context: IngestContext) -> None:
    """Mark as archived the files that a crash had removed from the landing folder without marking them."""
    landing = context.landing / source.name
    moved = [(n, name) for n, name in context.book.all_unarchived(source.name) if not (landing / name).exists()]
    for _, name in moved:
        manifest_of(landing / name).unlink(missing_ok=True)
    if moved:
        context.book.mark_archived([n for n, _ in moved])
