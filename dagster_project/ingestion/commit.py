"""Functions that commit receipts and write an audit row for each receipt.

If a crash prevented an audit row, `write_missing_audit_rows` writes it later. An audit row contains a fingerprint of
all fields of the receipt, so that a later change of the receipt is detected.
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
    """Flush the files that the receipts name, commit the receipts, and write their audit rows.

    Returns the numbers of the receipts, in the order of `receipts`.

    Raises:
        IdentityError: a receipt is invalid (see `ReceiptBook.commit`). No receipt was committed.
        AuditError: the audit chain is broken. The receipts were committed, but their audit rows were not written.
    """
    flush_files(context.lake, receipts)
    numbers = context.book.commit(receipts)
    context.audit.append([entry(number, receipt) for number, receipt in zip(numbers, receipts, strict=True)])
    return numbers


def write_missing_audit_rows(context: IngestContext) -> int:
    """Write the audit rows that are missing because a crash happened after receipts were committed.

    Returns the number of audit rows written.

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
    """Return the audit row for the receipt with this number: its state, counts and fingerprint."""
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
    """Return the sha256 of a receipt's fields, in hexadecimal.

    Fields that are None are left out. The fingerprints of existing receipts therefore stay the same when a new optional
    field is added to `Receipt`.
    """
    said = {name: value for name, value in asdict(receipt).items() if value is not None}
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()
