"""Taking held rows back in: what was held is read again under the contract as it is now, and what is good comes in.

The original is read and not the sealed row: it has the header that the row belongs to. Rows that are still bad stay as
they are. A readmission is a receipt of its own, which is its commit; done twice, the second finds nothing.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import polars as pl

from dagster_project.ingestion.classify import ClassifiedRows, classify_rows
from dagster_project.ingestion.commit import commit
from dagster_project.ingestion.contracts.source import Source
from dagster_project.ingestion.delivery import (
    QUARANTINE,
    Taken,
    blank_receipt,
    control_amounts,
    minor_of,
    read,
    with_vault,
    write,
)
from dagster_project.ingestion.intake import has_accepted, prepare, read_original
from dagster_project.ingestion.lake.context import IngestContext, forward
from dagster_project.ingestion.lake.files import write_parquet
from dagster_project.ingestion.lake.receipts import LakeFile, Receipt, State
from dagster_project.ingestion.lake.row_index import KnownRows
from dagster_project.ingestion.parsing.records import LINE_NO, LINES, DeliveryRefusedError, Records
from dagster_project.ingestion.parsing.row_rules import read_as
from dagster_project.ingestion.persons.originals import OriginalMissingError
from dagster_project.ingestion.quarantine import KNOWN_BY_THEN, NOTES, OPEN, READMITTED, TAKEN_BACK, WHOLE_FILE, held
from dagster_project.keys.store import KeyDestroyedError


@dataclass(frozen=True)
class Readmission:
    """`receipts`: of what was taken back in. `gone`: names of files whose originals are no longer there."""

    receipts: tuple[Receipt, ...]
    gone: tuple[str, ...]


def readmit(source: Source, context: IngestContext, now: datetime, delivery: str | None = None) -> Readmission:
    """Take back in what of a source's quarantine is good now; of one delivery only, if its id (or a part) is given.

    Raises:
        LakeCorruptionError: a file that is read is not what its receipt says.
        IdentityError: lines or cents do not add up; nothing of that delivery was committed.
    """
    prepare(source, context)
    rows = held(context, source.name).filter(pl.col("state") == OPEN)
    if delivery:
        rows = rows.filter(pl.col("delivery_id").str.starts_with(delivery))
    receipts = dict(context.book.numbered("source = ?", (source.name,)))
    known_rows = KnownRows(source.contract, context.lake, receipts.values())
    clock, done, gone = forward(now, context), [], []
    for (number,), of_receipt in rows.group_by("receipt_no", maintain_order=True):
        holding = _Holding(int(str(number)), receipts[int(str(number))], of_receipt, source, context, known_rows, clock)
        try:
            taken = holding.taken_back()
        except (OriginalMissingError, KeyDestroyedError):
            gone.append(holding.receipt.file_name)
            continue
        if taken:
            (receipt,) = with_vault([taken], source, context, known_rows)
            context.key_store.flush()
            commit([receipt], context)
            known_rows.add([(receipt, taken.keys)])
            done.append(receipt)
    known_rows.save()
    return Readmission(tuple(done), tuple(gone))


@dataclass(frozen=True)
class _Holding:
    """A receipt and the rows of it that are held still."""

    number: int
    receipt: Receipt
    rows: pl.DataFrame
    source: Source
    context: IngestContext
    known_rows: KnownRows
    now: datetime

    def taken_back(self) -> Taken | None:
        """Write what is good now; None where nothing is."""
        file = read_original(self.receipt, self.context)
        try:
            layout, records = read(file, self.source)
            typed = read_as(records.text, layout)
            amounts = control_amounts(typed, layout)
            file.manifest.check(file.sha256, records.landed, amounts["amount"].sum())
            whole = (self.rows[LINE_NO] == WHOLE_FILE).any()
            if whole and layout.delivered_once and has_accepted(layout, self.source, self.context):
                return None
            if not whole:
                records, amounts = _only(records, self.rows), amounts.join(self.rows, on=LINE_NO, how="semi")
                typed = read_as(records.text, layout)
            blank = blank_receipt(file, self.source, self.now)
            classified = classify_rows(
                records, typed, layout, self.source, self.context, self.known_rows, blank, compare=True
            )
        except DeliveryRefusedError:
            return None
        if not classified.tables and classified.duplicates.is_empty():
            return None
        part = f"-{self._root}.{1 + self._before}"
        if whole:
            taken = write(blank, classified, records, amounts, layout, self.source, self.context, part)
            notes, change = self._noted([WHOLE_FILE], classified), self._change_of_whole(taken.receipt)
        else:
            good = replace(classified, bad=classified.bad.clear())
            taken = write(blank, good, records, amounts, layout, self.source, self.context, part)
            left = self.rows.join(classified.bad, on=LINE_NO, how="anti")
            notes, change = self._noted(left[LINE_NO].to_list(), classified), self._change(taken.receipt, left, amounts)
        path = Path(QUARANTINE) / self.source.name / f"{self.receipt.delivery_id}{part}.{READMITTED}.parquet"
        digest = write_parquet(notes, self.context.lake / path, flushed=False)
        files = (*taken.receipt.files, LakeFile(READMITTED, str(path), digest, notes.height))
        reason = f"readmitted under contract {self.source.contract.version}; held under {self.receipt.contract_version}"
        receipt = replace(change, state=State.READMITTED, reason=reason, files=files, readmits=self._root)
        return Taken(receipt, taken.keys, taken.personal_values)

    @property
    def _root(self) -> int:
        """The receipt with which the file landed."""
        return self.receipt.readmits or self.number

    @property
    def _before(self) -> int:
        """How many readmissions there were of what landed then."""
        return len(self.context.book.numbered("readmits = ?", (self._root,)))

    def _noted(self, lines: list[int], classified: ClassifiedRows) -> pl.DataFrame:
        known_rows = set(classified.duplicates[LINE_NO])
        rows = [(self.number, line, KNOWN_BY_THEN if line in known_rows else TAKEN_BACK) for line in lines]
        return pl.DataFrame(rows, schema=NOTES, orient="row")

    def _change(self, now: Receipt, left: pl.DataFrame, amounts: pl.DataFrame) -> Receipt:
        """The receipt of rows that leave. An amount may be readable now that counted as 0 when it landed."""
        before = int(left["minor"].sum())
        return replace(
            now,
            landed_rows=0,
            quarantined_rows=-int(left[LINES].sum()),
            landed_minor=minor_of(amounts, left) - before,
            quarantined_minor=-before,
        )

    def _change_of_whole(self, now: Receipt) -> Receipt:
        """The receipt of a file that was held as a whole, as the difference to how it was counted then."""
        then = self.receipt
        return replace(
            now,
            landed_rows=now.landed_rows - then.landed_rows,
            quarantined_rows=now.quarantined_rows - then.quarantined_rows,
            landed_minor=now.landed_minor - then.landed_minor,
            quarantined_minor=now.quarantined_minor - then.quarantined_minor,
        )


def _only(records: Records, rows: pl.DataFrame) -> Records:
    """The records that are held."""
    return replace(
        records,
        text=records.text.join(rows, on=LINE_NO, how="semi"),
        ragged=records.ragged.join(rows, on=LINE_NO, how="semi"),
    )
