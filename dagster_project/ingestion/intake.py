"""Ingestion of the files that wait in the landing folder.

Files are parsed in parallel, and committed in order and in batches. One batch is committed while the next batch is
parsed. Small files of one layout are parsed together, as one file; see `small_files`. A crash does no harm because of
the order of the writes:

1. The encrypted originals and their keys are written.
2. The Parquet files and the vault's files are written.
3. The receipts are committed.
4. The audit rows of the receipts are written.
5. The files are removed from the landing folder.

If a crash happens before step 3 is complete, the next run ingests the files again. If it happens later, the next run
writes the missing audit rows and removes the files from the landing folder.

Each file is first parsed on the assumption that all its keys are new. Before a batch is committed, the key index shows
whether a key may already be in the lake, or may occur in two files of the batch. A file with such a key is parsed
again, by itself, and compared with the lake row by row.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Collection
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import NamedTuple, ParamSpec

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
    keep_originals,
    open_original,
    sweep_originals,
)
from dagster_project.ingestion.small_files import MAX_BYTES, MAX_FILES, is_small, take_in_group

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
    receipt may still be in the landing folder. Such a file is removed from the folder and gets no second receipt, so
    the result has no receipt for it.
    """
    prepare(source, context)
    if not files:
        return []
    known_rows = KnownRows(source.contract, context.lake, context.book.all(source.name))
    with context.key_store.kept_open(), ThreadPoolExecutor(_READERS) as readers, ThreadPoolExecutor(1) as committer:
        contents = context.book.contents(source.name)
        intake = _Intake(source, context, forward(now, context), readers, committer, known_rows, contents)
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


class _Task(NamedTuple):
    """The files that one reader thread ingests.

    `sha256s` has the sha256 of each file. `taken` is the future list of results, one per file.
    """

    paths: list[Path]
    sha256s: list[str]
    taken: Future[list[TakenIn]]


def _no_batch() -> tuple[set[str], Future[None]]:
    done: Future[None] = Future()
    done.set_result(None)
    return set(), done


@dataclass
class _Intake:
    """The state of an intake while it runs.

    It consists of the files that are being parsed, the batch that is being committed, and the receipts that were
    committed so far. `contents` contains the sha256 of each file content of this source that has a receipt.
    """

    source: Source
    context: IngestContext
    now: datetime
    readers: Executor
    committer: Executor
    known_rows: KnownRows
    contents: set[str]
    committed: list[Receipt] = field(default_factory=list)
    _group: list[tuple[Path, Delivered]] = field(default_factory=list)
    _reading: list[_Task] = field(default_factory=list)
    _committing: tuple[set[str], Future[None]] = field(default_factory=_no_batch)
    _in_hand: deque[Future[list[TakenIn]]] = field(default_factory=deque)
    _layout: Table | None = None

    def add(self, path: Path) -> None:
        """Read a file and arrange its ingestion in a reader thread. Small files are collected in a group first.

        If the outcome of this file may depend on files that were added before, those files are committed first. If the
        file already has a receipt and only a crash left it in the landing folder, it is not ingested but archived. If
        this file fills the batch, the commit of the batch is started.
        """
        if self._committing[1].done():
            self.wait_for_batch()
        file, refused = _unpacked(path)
        layout = self.source.contract.layout_of(path.name)
        once = layout is not None and layout.delivered_once
        # Commit earlier files first if this file's outcome may depend on them: payments are checked against loans.
        if once or layout != self._layout or file.sha256 in self._in_progress():
            self.finish()
        self._layout = layout
        earlier = None
        if file.sha256 in self.contents:
            leftover = self.context.book.unarchived(self.source.name, file.sha256, path.name)
            if leftover is not None:  # it is encrypted in the lake
                _archive([(path, file.sha256)], [leftover], self.source.name, self.context)
                return
            earlier = self.context.book.find(self.source.name, file.sha256, self.source.contract.version)
        if earlier:
            self._read_alone(path, file, duplicate, earlier, path.name, self.now)
        elif refused:
            self._read_alone(path, file, refuse, file, self.source, self.now, refused)
        elif once and layout and has_accepted(layout, self.source, self.context):
            self._read_alone(path, file, hold_back, file, self.source, self.now)
        elif is_small(file, layout, self.source):
            self._add_to_group(path, file)
        else:
            self._read_alone(path, file, self._take_in, file, compare=False)

    def _in_progress(self) -> set[str]:
        """Return the sha256 of each file that was added, but is not committed yet."""
        read = {sha256 for task in self._reading for sha256 in task.sha256s}
        return read | self._committing[0] | {file.sha256 for _, file in self._group}

    def _add_to_group(self, path: Path, file: Delivered) -> None:
        """Add a small file to the current group. A full group is passed to a reader thread."""
        if sum(len(other.content) for _, other in self._group) + len(file.content) > MAX_BYTES:
            self._read_group()
        self._group.append((path, file))
        if len(self._group) == MAX_FILES:
            self._read_group()

    def _read_group(self) -> None:
        group, self._group = self._group, []
        files = [file for _, file in group]

        def read() -> list[TakenIn]:
            return take_in_group(files, self.source, self.context, self.known_rows, self.now)

        if group:
            self._start([path for path, _ in group], files, read)

    def _read_alone(
        self, path: Path, file: Delivered, read: Callable[P, TakenIn], *args: P.args, **more: P.kwargs
    ) -> None:
        """Pass one file to a reader thread. If there is a group of small files, pass that group to a thread first."""
        self._read_group()
        self._start([path], [file], lambda: [read(*args, **more)])

    def _start(self, paths: list[Path], files: list[Delivered], read: Callable[[], list[TakenIn]]) -> None:
        """Start a reader thread that ingests files and writes their encrypted originals.

        If the batch is full after that, its commit is started.
        """

        def both() -> list[TakenIn]:
            taken = read()
            contents = (file.content for file in files)
            keep_originals(
                [(content, one.receipt) for content, one in zip(contents, taken, strict=True)],
                self.source,
                self.context,
            )
            return taken

        task = _Task(paths, [file.sha256 for file in files], self.readers.submit(both))
        self._reading.append(task)
        self._in_hand.append(task.taken)
        if len(self._in_hand) > _READERS:
            self._in_hand.popleft().result()  # wait, so that few files are in memory at once
        done = [taken for task in self._reading if task.taken.done() for taken in task.taken.result()]
        rows, personal_values = (
            sum(taken.receipt.landed_rows for taken in done),
            sum(taken.personal_values.height for taken in done if taken.personal_values),
        )
        if len(self._reading) >= _BATCH or rows > _BATCH_ROWS or personal_values > _BATCH_PERSONAL_VALUES:
            self.commit()

    def finish(self) -> None:
        """Commit all files that were added so far, and wait until the commit is complete."""
        self._read_group()
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
        sha256s = {sha256 for task in batch for sha256 in task.sha256s}
        self._committing = sha256s, self.committer.submit(self._commit, batch)

    def _commit(self, batch: list[_Task]) -> None:
        """Commit the receipts of a batch in one transaction, in the order of the files, and then archive the files.

        If the lake may already contain a key of the batch, the files with such keys are ingested again first; see
        `_one_by_one`.
        """
        if not batch:
            return
        groups = [task.taken.result() for task in batch]
        taken = [one for group in groups for one in group]
        if self.known_rows.may_contain(one.keys for one in taken):
            compared = (self._one_by_one(task.paths, group) for task, group in zip(batch, groups, strict=True))
            taken = [one for group in compared for one in group]
        else:
            self.known_rows.add([(one.receipt, one.keys) for one in taken])
        receipts = with_vault(taken, self.source, self.context, self.known_rows)
        self.known_rows.note(receipts)
        flush_originals(self.context, self.source.name, [r.sha256 for r in receipts])
        numbers = commit(receipts, self.context)
        self.contents |= {receipt.sha256 for receipt in receipts}
        files = [file for task in batch for file in zip(task.paths, task.sha256s, strict=True)]
        _archive(files, numbers, self.source.name, self.context)
        self.committed += receipts

    def _take_in(self, file: Delivered, *, compare: bool) -> TakenIn:
        return take_in(file, self.source, self.context, self.known_rows, self.now, compare=compare)

    def _one_by_one(self, paths: list[Path], group: list[TakenIn]) -> list[TakenIn]:
        """Ingest files again and compare their rows with the lake, if the lake may contain one of their keys.

        Returns the new results. If the lake contains none of the keys, `group`, which has the earlier results, is
        returned.

        Raises:
            DeliveryChangedError: the content of a file has changed since it was first read.
        """
        if not self.known_rows.may_contain(one.keys for one in group):
            self.known_rows.add([(one.receipt, one.keys) for one in group])
            return group
        compared = []
        for path, before in zip(paths, group, strict=True):
            file, _ = _unpacked(path)
            if file.sha256 != before.receipt.sha256:
                raise DeliveryChangedError(
                    f"{path} was written to while it was read. Write a file under a name that begins with a dot and "
                    "rename it, or have the contract ask for manifests"
                )
            taken = self._take_in(file, compare=True)
            self.known_rows.add([(taken.receipt, taken.keys)])
            compared.append(taken)
        return compared


def has_accepted(layout: Table, source: Source, context: IngestContext) -> bool:
    """Return whether the source already has a file with this layout that was accepted, entirely or in part."""
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
