"""Commits receipts and writes the audit row of each; also writes the audit rows lost in a crash.

An audit row contains the fingerprint of the complete receipt, so a later change of the receipt is detected.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict

from dagster_project.audit.chain import Entry, Kind
from dagster_project.ingestion.lake.context import IngestContext
from dagster_project.ingestion.lake.files import flush_files
from dagster_project.ingestion.lake.receipts import Receipt


def commit(receipts: Sequence[Receipt], context: IngestContext) -> list[int]:
    """Flush the files of receipts, commit the receipts and write their audit rows. Returns the receipts' numbers.

    Raises:
        IdentityError: see `ReceiptBook.commit`; nothing was committed.
        AuditError: the audit chain is broken; the receipts are committed, but their audit rows are missing.
    """
    flush_files(context.lake, receipts)
    numbers = context.book.commit(receipts)
    context.audit.append([entry(number, receipt) for number, receipt in zip(numbers, receipts, strict=True)])
    return numbers


def write_missing_audit_rows(context: IngestContext) -> int:
    """Write the audit rows of receipts that have none, because of a crash. Returns the number of rows written.

    Raises:
        AuditError: the audit chain is broken.
    """
    recorded = context.audit.subjects(Kind.DELIVERY)
    missing = {number for source, number in context.book.numbers() if _subject(source, number) not in recorded}
    if missing:
        entries = [entry(number, receipt) for number, receipt in context.book.numbered() if number in missing]
        context.audit.append(entries, late=True)
    return len(missing)


def entry(number: int, receipt: Receipt) -> Entry:
    """The audit row of a receipt."""
    counts = {
        f"{outcome}_{unit}": getattr(receipt, f"{outcome}_{unit}")
        for outcome in ("landed", "accepted", "quarantined", "duplicate")
        for unit in ("rows", "minor")
    }
    said = {"state": receipt.state.value, "sha256": receipt.sha256, "contract_version": receipt.contract_version}
    return Entry(
        Kind.DELIVERY,
        _subject(receipt.source, number),
        {**said, **counts, "ingested_at": receipt.ingested_at.isoformat(), "receipt": receipt_fingerprint(receipt)},
    )


def _subject(source: str, number: int) -> str:
    return f"{source}/{number}"


def receipt_fingerprint(receipt: Receipt) -> str:
    """The sha256 of all fields of a receipt except None, so a new optional field keeps old fingerprints valid."""
    said = {name: value for name, value in asdict(receipt).items() if value is not None}
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()
