"""Ingests the waiting files: parses them in parallel, and commits them in order, in batches.

One batch is committed while the next is parsed. The order of writes makes a crash harmless: first the encrypted
originals and their keys, then the Parquet files and the vault's files, then the receipts, then their audit rows. Then
the files are removed from the landing folder. After a crash without a receipt, the file is ingested again. After a
crash with a receipt, the next start writes the missing audit rows and removes the files.

A file is parsed as if its rows were new. The key index confirms that before anything is committed. If a key may be in
the lake already, the files of the batch are parsed again, one by one, and compared with the lake row by row.
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
# Limits of a batch: files, rows, personal values. The receipts of a batch share a transaction, because flushing each
# one separately took as long as reading a day's file. A batch keeps its keys and personal values in memory.
_BATCH, _BATCH_ROWS, _BATCH_PERSONAL_VALUES = 32, 4_000_000, 250_000
# Threads are enough, because Polars releases Python's lock. More readers would keep more files in memory, and a machine
# may have only two cores. Two readers instead of three took 6 % longer.
_READERS = 3


def ingest(
    source: Source,
    context: IngestContext,
    now: datetime,
    on: date | None = None,
    days: Collection[date] | None = None,
) -> list[Receipt]:
    """Ingest the waiting files of a source. Returns the receipts written, in order.

    Args:
        source: its contract and adapter.
        context: landing folder, lake and keys.
        now: the time of ingestion in the receipts, in UTC.
        on: the day of a replay, see `waiting`; None for a normal run.
        days: ingest only the files of these landing days; None for all files.
    """
    files = waiting(source, context, on)
    if days is not None:
        files = [p for p in files if landing_day(source, p) in days]
    return ingest_files(files, source, context, now)


def ingest_files(files: list[Path], source: Source, context: IngestContext, now: datetime) -> list[Receipt]:
    """Ingest these files. Returns the receipts written, in order.

    A file that already has a receipt, but stayed in the landing folder after a crash, gets no second receipt.
    """
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
    """Before anything is written, repair what a crash left incomplete, and check the root key.

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
    """The delivered file of a receipt, decrypted from its original.

    Raises:
        OriginalMissingError: the original is missing.
        KeyDestroyedError: the key of the original was destroyed.
        LakeCorruptionError: the original is damaged.
    """
    content = open_original(context, receipt.source, receipt.sha256)
    manifest = read_manifest(kept_manifest(context.lake, receipt.source, receipt.sha256))
    return Delivered(receipt.file_name, content, receipt.sha256, manifest)


class DeliveryChangedError(RuntimeError):
    """A file changed while it was read, because it had not arrived completely."""


_Task = tuple[Path, str, Future[TakenIn]]  # a file, its sha256, and its future result


def _no_batch() -> tuple[set[str], Future[None]]:
    done: Future[None] = Future()
    done.set_result(None)
    return set(), done


@dataclass
class _Intake:
    """The state of an intake: files being parsed, the batch being committed, and the receipts committed so far."""

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
        """Hash a file and pass it to a reader thread; a file that already has a receipt is only archived."""
        if self._committing[1].done():
            self.wait_for_batch()
        file, refused = _unpacked(path)
        layout = self.source.contract.layout_of(path.name)
        once = layout is not None and layout.delivered_once
        # Commit earlier files first if this file's outcome may depend on them: payments are checked against loans.
        in_progress = {sha256 for _, sha256, _ in self._reading} | self._committing[0]
        if once or layout != self._layout or file.sha256 in in_progress:
            self.finish()
        self._layout = layout
        leftover = self.context.book.unarchived(self.source.name, file.sha256, path.name)
        if leftover is not None:
            _archive([(path, file.sha256)], [leftover], self.source.name, self.context)  # it is encrypted in the lake
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
            self._in_hand.popleft().result()  # wait, so that few files are in memory at once
        done = [task.result() for _, _, task in self._reading if task.done()]
        rows, personal_values = (
            sum(t.receipt.landed_rows for t in done),
            sum(t.personal_values.height for t in done if t.personal_values),
        )
        if len(self._reading) >= _BATCH or rows > _BATCH_ROWS or personal_values > _BATCH_PERSONAL_VALUES:
            self.commit()

    def _read(self, file: Delivered, read: Callable[P, TakenIn], *args: P.args, **more: P.kwargs) -> Future[TakenIn]:
        """Start a reader thread that ingests a file and writes its encrypted original."""

        def both() -> TakenIn:
            taken = read(*args, **more)
            keep_original(file.content, self.source, self.context, taken.receipt)
            return taken

        return self.readers.submit(both)

    def finish(self) -> None:
        """Commit the batch of files read so far, and wait until the commit has ended."""
        self.commit()
        self.wait_for_batch()

    def wait_for_batch(self) -> None:
        """Wait for the batch that is being committed, and raise its error if it failed."""
        self._committing[1].result()

    def commit(self) -> None:
        """Start to commit the batch of files read so far, once the previous batch is committed.

        The reader threads continue with the next batch meanwhile.
        """
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
        """Ingest a file again, and compare it with the lake, if the lake may contain one of its keys."""
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
    """Whether a file of this layout was accepted, entirely or in part."""
    accepted = (r for r in context.book.all(source.name) if r.state in TAKEN_IN)
    return any(source.contract.layout_of(r.file_name) == layout for r in accepted)


def _unpacked(path: Path) -> tuple[Delivered, DeliveryRefusedError | None]:
    """Return a file with its unpacked content and None; or with its packed content and the error if it is refused."""
    content, refused = path.read_bytes(), None
    try:
        content = unpack(path.name, content)
    except DeliveryRefusedError as error:
        refused = error
    return Delivered(path.name, content, hashlib.sha256(content).hexdigest(), read_manifest(manifest_of(path))), refused


def _archive(files: list[tuple[Path, str]], numbers: list[int], source: str, context: IngestContext) -> None:
    """Remove files from the landing folder, because the lake has their originals; mark their receipts as archived."""
    for path, sha256 in files:
        keep_manifest(path, context.lake, source, sha256)
        path.unlink()
        manifest_of(path).unlink(missing_ok=True)  # last: a file without its required manifest would wait for ever
    context.book.mark_archived(numbers)


def _mark_archived_files(source: Source, context: IngestContext) -> None:
    """Mark the receipts whose files had left the landing folder when a crash prevented the mark."""
    landing = context.landing / source.name
    moved = [(n, name) for n, name in context.book.all_unarchived(source.name) if not (landing / name).exists()]
    for _, name in moved:
        manifest_of(landing / name).unlink(missing_ok=True)
    if moved:
        context.book.mark_archived([n for n, _ in moved])
