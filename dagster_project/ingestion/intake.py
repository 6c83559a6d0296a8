"""Ingestion of the files that wait in the landing folder.

Files are parsed in parallel, and committed in order and in batches. One batch is committed while the next batch is
parsed. A crash does no harm because of the order of the writes:

1. The encrypted originals and their keys are written.
2. The Parquet files and the vault's files are written.
3. The receipts are committed.
4. The audit rows of the receipts are written.
5. The files are removed from the landing folder.

If a crash happens before step 3 is complete, the next run ingests the files again. If it happens later, the next run
writes the missing audit rows and removes the files from the landing folder.

Each file is first parsed on the assumption that all its keys are new. Before a batch is committed, the key index shows
whether a key may already be in the lake, or may occur in two files of the batch. A file with such a key is parsed
again and compared with the lake row by row.
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
    """Ingest the waiting files of a source.

    Returns the receipts that were committed, in the order of the files.

    Args:
        source: the source whose files are ingested.
        context: the landing folder, the lake and the keys.
        now: the time of ingestion in the receipts, in UTC.
        on: the day of a replay, or None for a normal run. In a replay, files that arrive after this day are left out;
            see `waiting`.
        days: the landing days of the files to ingest, or None for all waiting files.
    """
    files = waiting(source, context, on)
    if days is not None:
        files = [p for p in files if landing_day(source, p) in days]
    return ingest_files(files, source, context, now)


def ingest_files(files: list[Path], source: Source, context: IngestContext, now: datetime) -> list[Receipt]:
    """Ingest the given files.

    Returns the receipts that were committed, in the order of the files. After a crash, a file that already has a
    receipt may still be in the landing folder. Such a file is removed from the folder and gets no second receipt.
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
    """Check the root key, and repair what a crash left incomplete.

    This also upgrades a key store that an older version created. Call this before anything is written to the lake.

    Raises:
        MasterKeyError: the pseudonyms of this lake were made with another key, or the key store is missing.
        AuditError: audit rows are missing and the audit chain is broken.
    """
    sweep(context.lake)
    context.book.key_mark(context.keys.mark)
    context.check_key()
    context.key_store.upgrade()
    write_missing_audit_rows(context)
    _mark_archived_files(source, context)
    sweep_originals(context, source.name)


def read_original(receipt: Receipt, context: IngestContext) -> Delivered:
    """Return the delivered file of a receipt, decrypted from the original in the lake.

    Raises:
        OriginalMissingError: the original is missing.
        KeyDestroyedError: an erasure destroyed the key of the original.
        LakeCorruptionError: the original is damaged.
    """
    content = open_original(context, receipt.source, receipt.sha256)
    manifest = read_manifest(kept_manifest(context.lake, receipt.source, receipt.sha256))
    return Delivered(receipt.file_name, content, receipt.sha256, manifest)


class DeliveryChangedError(RuntimeError):
    """A file changed while it was being read, because its sender had not finished writing it."""


_Task = tuple[Path, str, Future[TakenIn]]  # a file, its sha256, and its future result


def _no_batch() -> tuple[set[str], Future[None]]:
    done: Future[None] = Future()
    done.set_result(None)
    return set(), done


@dataclass
class _Intake:
    """The state of an intake.

    It consists of the files that are being parsed, the batch that is being committed, and the receipts that were
    committed so far.
    """

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
        """Read a file and start a reader thread that ingests it.

        Files that were added before are committed first if the outcome of this file may depend on them. If the file
        already has a receipt and was left in the landing folder by a crash, it is only archived. If the batch is full,
        its commit is started.
        """
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
        """Call `read` in a reader thread, then write the encrypted original of the file.

        `args` and `more` are the arguments of `read`. The returned future gives the result of `read`.
        """

        def both() -> TakenIn:
            taken = read(*args, **more)
            keep_original(file.content, self.source, self.context, taken.receipt)
            return taken

        return self.readers.submit(both)

    def finish(self) -> None:
        """Commit the current batch, and wait until the commit is complete."""
        self.commit()
        self.wait_for_batch()

    def wait_for_batch(self) -> None:
        """Wait until the batch that is being committed is complete.

        If the commit failed, raise its error.
        """
        self._committing[1].result()

    def commit(self) -> None:
        """Start the commit of the current batch in another thread.

        If the previous batch is still being committed, wait for it first. While the commit runs, the reader threads can
        parse the files of the next batch.
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
        """Ingest a file again and compare it with the lake, if the lake may contain one of its keys.

        Returns the new result, or `taken` if the lake contains none of the keys.

        Raises:
            DeliveryChangedError: the content of the file is no longer the content that was read first.
        """
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
    """Return whether any file with this layout was accepted, entirely or in part."""
    accepted = (r for r in context.book.all(source.name) if r.state in TAKEN_IN)
    return any(source.contract.layout_of(r.file_name) == layout for r in accepted)


def _unpacked(path: Path) -> tuple[Delivered, DeliveryRefusedError | None]:
    """Read a file and decompress its content.

    Returns the delivery and None. If the file cannot be decompressed, returns the delivery with the compressed content,
    and the error.
    """
    content, refused = path.read_bytes(), None
    try:
        content = unpack(path.name, content)
    except DeliveryRefusedError as error:
        refused = error
    return Delivered(path.name, content, hashlib.sha256(content).hexdigest(), read_manifest(manifest_of(path))), refused


def _archive(files: list[tuple[Path, str]], numbers: list[int], source: str, context: IngestContext) -> None:
    """Remove files from the landing folder, and mark their receipts as archived.

    The originals are already in the lake. The manifests of the files are copied to the lake and then removed as well.

    Args:
        files: the path and the sha256 of each file.
        numbers: the numbers of the receipts of these files.
        source: the name of the source.
        context: the lake and the receipts.
    """
    for path, sha256 in files:
        keep_manifest(path, context.lake, source, sha256)
        path.unlink()
        manifest_of(path).unlink(missing_ok=True)  # last: a file without its required manifest would wait for ever
    context.book.mark_archived(numbers)


def _mark_archived_files(source: Source, context: IngestContext) -> None:
    """Mark receipts as archived if their files are no longer in the landing folder.

    This is needed if a crash happened after the files were removed and before their receipts were marked.
    """
    landing = context.landing / source.name
    moved = [(n, name) for n, name in context.book.all_unarchived(source.name) if not (landing / name).exists()]
    for _, name in moved:
        manifest_of(landing / name).unlink(missing_ok=True)
    if moved:
        context.book.mark_archived([n for n, _ in moved])
