"""Verification of a home: its receipts and their files, the audit chain, the snapshots and the champions.

Verification changes nothing. For each fault, it reports what is wrong, where, and what to do about it. This module does
not use Dagster.
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from dagster_project.audit.chain import Kind, Row
from dagster_project.ingestion.commit import entry, receipt_fingerprint
from dagster_project.ingestion.lake.context import IngestContext
from dagster_project.ingestion.lake.files import LakeCorruptionError, verified
from dagster_project.ingestion.lake.receipts import Receipt, State
from dagster_project.ingestion.persons.originals import OriginalMissingError, open_original
from dagster_project.keys.store import KeyDestroyedError, KeyMissingError
from dagster_project.night.audit_entries import decision_fingerprint
from dagster_project.night.pipeline import Pipeline
from dagster_project.snapshots.snapshot import CURRENT, SnapshotCorruptionError, current_snapshot, snapshot_faults
from ml.model import ModelIntegrityError, check_files

# Called before and during each part with the part's name, the number of items done, and the total number.
Progress = Callable[[str, int, int], None]

_RESTORE = "restore it from a backup"
_EDITED = "the database was edited by hand: restore the home from an earlier backup"
_NOT_RECORDED = "if a run has just been cut off, the next run writes the row, marked late; else no night made it"


@dataclass(frozen=True)
class Fault:
    """A fault that verification found in a home.

    `part`: the part of the home that has the fault, for example `receipts`. `what`: what is wrong. `advice`: what the
    user should do about it.
    """

    part: str
    what: str
    advice: str


@dataclass
class Verification:
    """The result of a verification.

    `checked`: the number of checked items of each kind, for example `lake files`. `notes`: remarks about things that
    are unusual but are not faults.
    """

    checked: dict[str, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def verify(pipeline: Pipeline, progress: Progress = lambda _part, _done, _total: None) -> Verification:
    """Verify every part of a home, and return the faults that were found.

    A database that cannot be read is reported as a fault. The caller must make sure that no other process writes to the
    home during the verification. `progress` is called before and during each part.
    """
    found = Verification()
    for part, check in _PARTS.items():
        progress(part, 0, 1)
        try:
            found.faults += [Fault(part, what, advice) for what, advice in check(pipeline, found, progress)]
        except sqlite3.DatabaseError as error:
            found.faults.append(Fault(part, f"a database cannot be read: {error}", _RESTORE))
    return found


# (what is wrong, what to do)
_Finding = tuple[str, str]


def _receipts(pipeline: Pipeline, found: Verification, progress: Progress) -> Iterator[_Finding]:
    """Yield what is wrong with the receipts, their lake files or their originals.

    For each receipt, rows and amounts must add up: landed = accepted + quarantined + duplicate. Its lake files must be
    unchanged. If the delivery is not a duplicate, its original is checked as well, see `_original`.
    """
    ingest_context = pipeline.ingest_context
    book = ingest_context.lake / "receipts.sqlite"
    numbered = ingest_context.book.numbered() if book.exists() else []
    found.checked |= {"receipts": len(numbered), "lake files": 0, "originals": 0}
    checked: set[tuple[str, str]] = set()
    for done, (number, receipt) in enumerate(numbered):
        progress("receipts", done, len(numbered))
        name = f"receipt {number} ({receipt.source}/{receipt.file_name})"
        for unit in ("rows", "minor"):
            landed, *parts = (getattr(receipt, f"{o}_{unit}") for o in _OUTCOMES)
            if landed != sum(parts):
                yield f"{name}: {landed} {unit} landed, {' + '.join(map(str, parts))} are accounted for", _EDITED
        for item in receipt.files:
            if (item.path, item.sha256) in checked:  # receipts of small files share it
                continue
            checked.add((item.path, item.sha256))
            found.checked["lake files"] += 1
            try:
                verified(ingest_context.lake, item)
            except LakeCorruptionError as error:
                yield f"{name}: {error}", f"{_RESTORE}; until then no night reads the lake"
        if receipt.state is not State.DUPLICATE:
            yield from _original(ingest_context, name, receipt, found)


_OUTCOMES = ("landed", "accepted", "quarantined", "duplicate")


def _original(ingest_context: IngestContext, name: str, receipt: Receipt, found: Verification) -> Iterator[_Finding]:
    """Yield a finding if the original of a receipt is missing, was changed, or cannot be decrypted.

    A key that was destroyed by an erasure is not a fault.
    """
    try:
        open_original(ingest_context, receipt.source, receipt.sha256)
        found.checked["originals"] += 1
    except KeyMissingError:
        yield f"{name}: the key of its original is missing in {ingest_context.key_store.path}", "put the key store back"
    except KeyDestroyedError:
        pass  # an erasure destroyed the key
    except OriginalMissingError:
        yield f"{name}: its original is missing in {ingest_context.lake / 'originals' / receipt.source}", _RESTORE
    except LakeCorruptionError:
        yield f"{name}: its original was changed", _RESTORE


def _chain(pipeline: Pipeline, found: Verification, progress: Progress) -> Iterator[_Finding]:
    """Check the audit chain, then compare each receipt and each promotion decision with its row in the chain.

    If the audit log cannot be read, only this fault is reported and nothing is compared. Rows that were written late
    are added to `found.notes`.
    """
    audit = pipeline.ingest_context.audit
    faults = audit.faults(lambda done, total: progress("audit chain", done, total))
    for fault in faults:
        yield (
            fault,
            "the log was tampered with, or log, head and key do not match: restore log and head from one backup",
        )
    if any("cannot be read" in fault for fault in faults):
        return
    rows = audit.rows()
    found.checked["audit rows"] = len(rows)
    late = [row for row in rows if row.late]
    if late:
        found.notes.append(
            f"{len(late)} audit rows were written late, by the run after a crash; the first is row {late[0].number}: "
            f"{late[0].kind} {late[0].subject}"
        )
    receipts = {entry(no, r).subject: receipt_fingerprint(r) for no, r in pipeline.ingest_context.book.numbered()}
    yield from _against(rows, Kind.DELIVERY, "receipt", receipts)
    ledger = pipeline.ledger.numbered() if pipeline.settings.ledger_file.exists() else []
    decisions = {f"{d.source}/{no}": decision_fingerprint(d) for no, d in ledger}
    yield from _against(rows, Kind.PROMOTION, "ledger", decisions)


def _against(rows: list[Row], kind: Kind, fact: str, stored: Mapping[str, str]) -> Iterator[_Finding]:
    """Compare the audit rows of one kind with the stored records that they describe.

    A finding is yielded for each record without an audit row, for each audit row without a record, and for each record
    whose fingerprint differs from the one in its audit row.

    Args:
        rows: all rows of the audit chain. Rows of other kinds are ignored.
        kind: the kind of audit rows to compare.
        fact: the name under which an audit row stores the record's fingerprint: `receipt` or `ledger`.
        stored: the fingerprints of the stored records, by the subject of their audit rows.
    """
    thing = {"receipt": "receipt", "ledger": "decision"}[fact]
    recorded = {row.subject: row for row in rows if row.kind == kind}
    for subject in sorted(stored.keys() - recorded.keys()):
        yield f"{thing} {subject} has no row in the audit chain", _NOT_RECORDED
    for subject in sorted(recorded.keys() - stored.keys()):
        yield f"row {recorded[subject].number} of the audit chain records {thing} {subject}, which is missing", _EDITED
    for subject in sorted(recorded.keys() & stored.keys()):
        if recorded[subject].parsed_facts()[fact] != stored[subject]:
            yield f"{thing} {subject} differs from row {recorded[subject].number} of the audit chain", _EDITED


def _snapshots(pipeline: Pipeline, found: Verification, progress: Progress) -> Iterator[_Finding]:
    """Compare each snapshot with its manifest, and the current one with the newest publication in the audit chain."""
    published = pipeline.settings.published
    pointer = published / CURRENT
    folders = sorted(p for p in published.glob("[!.]*") if p.is_dir() and p != pointer)
    found.checked["snapshots"] = len(folders)
    current = pointer.resolve().name if pointer.is_symlink() else None
    for done, folder in enumerate(folders):
        progress("snapshots", done, len(folders))
        advice = "the next night repairs it if it produces the same content; else restore it from a backup"
        for fault in snapshot_faults(folder):
            yield f"snapshot {folder.name}: {fault}", advice if folder.name == current else _RESTORE
    if current and not pointer.exists():
        yield f"`current` points at {current}, which is missing", _RESTORE
    try:
        snapshot, newest = current_snapshot(published), pipeline.ingest_context.audit.newest(Kind.PUBLISH)
    except SnapshotCorruptionError:
        return  # reported above
    if snapshot and newest is None:
        yield f"snapshot {snapshot.snapshot_id} is current and has no row in the audit chain", _NOT_RECORDED
    elif newest and (snapshot is None or newest.parsed_facts()["snapshot_sha256"] != snapshot.sha256):
        shown = f"snapshot {snapshot.snapshot_id}" if snapshot else "no snapshot"
        yield f"{shown} is current, but the audit chain's newest publication is {newest.subject}", _NOT_RECORDED


def _champions(pipeline: Pipeline, found: Verification, progress: Progress) -> Iterator[_Finding]:
    """Check that the files of every promoted model match the hash in the promotion ledger.

    Former champions are checked too, because a night that is rebuilt for an earlier date may need them.
    """
    decisions = pipeline.ledger.numbered() if pipeline.settings.ledger_file.exists() else []
    promoted = {d.sha256: d for _, d in decisions if d.decision == "promoted"}
    found.checked["champions"] = len(promoted)
    for done, decision in enumerate(promoted.values()):
        progress("champions", done, len(promoted))
        try:
            check_files(pipeline.model_folder(decision.sha256), decision.sha256)
        except ModelIntegrityError as error:
            yield (
                f"{decision.model_name} version {decision.model_version}: {error}",
                "restore the model's folder from a backup; until then no night scores with it",
            )


_PARTS = {"receipts": _receipts, "audit chain": _chain, "snapshots": _snapshots, "champions": _champions}
