"""Verify a home: receipts and their files, the audit chain, snapshots, champions. No Dagster.

Verification changes nothing. Each fault says what is wrong, where, and what to do.
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
    """One fault: the part of the home, what is wrong, and what to do (`advice`)."""

    part: str
    what: str
    advice: str


@dataclass
class Verification:
    """The result of a verification.

    `checked`: number of checked items per kind. `notes`: remarks that are not faults.
    """

    checked: dict[str, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def verify(pipeline: Pipeline, progress: Progress = lambda _part, _done, _total: None) -> Verification:
    """Verify every part of a home. No other process may write to the home meanwhile."""
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
    """Check the row identity of each receipt, and the bytes of its lake files and of its original."""
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
    """Check that a receipt's original can be decrypted and is unchanged. An erasure may have destroyed its key."""
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
    """Check the audit chain itself, then compare each receipt and decision with its audit row."""
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
    """Compare the audit rows of a kind with the stored records. `stored`: fingerprints of the records by subject."""
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
    """Compare every snapshot with its manifest, and the current one with the audit chain's newest publication."""
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
    """Compare the files of every promoted model with the promotion ledger. A rebuilt night may need any of them."""
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
