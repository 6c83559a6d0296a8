"""Functions that readmit quarantined rows by reading them again under the current contract.

Good rows are accepted, and rows that are still bad stay in quarantine. The rows are read from the delivered original,
because the encrypted text in the quarantine lacks the header. Each readmission commits its own receipt, so running a
readmission again has no effect.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import polars as pl

from dagster_project.ingestion.classify import ClassifiedRows, classify
from dagster_project.ingestion.commit import commit
from dagster_project.ingestion.contracts.source import Source
from dagster_project.ingestion.delivery import (
    QUARANTINE,
    TakenIn,
    blank_receipt,
    minor_of,
    with_vault,
    write,
)
from dagster_project.ingestion.intake import has_accepted, prepare, read_original
from dagster_project.ingestion.lake.context import IngestContext, forward
from dagster_project.ingestion.lake.files import write_parquet
from dagster_project.ingestion.lake.receipts import LakeFile, Receipt, State
from dagster_project.ingestion.lake.row_index import KnownRows
from dagster_project.ingestion.parsing.parse import parse
from dagster_project.ingestion.parsing.records import LINE_NO, LINES, DeliveryRefusedError
from dagster_project.ingestion.persons.originals import OriginalMissingError
from dagster_project.ingestion.quarantine import KNOWN_BY_THEN, NOTES, OPEN, READMITTED, TAKEN_BACK, WHOLE_FILE, held
from dagster_project.keys.store import KeyDestroyedError


@dataclass(frozen=True)
class Readmission:
    """The result of a readmission.

    Attributes:
        receipts: the new receipts, one for each earlier receipt of which rows left the quarantine.
        gone: names of the files that could not be read again, because the original is missing or its key was destroyed.
    """

    receipts: tuple[Receipt, ...]
    gone: tuple[str, ...]


def readmit(source: Source, context: IngestContext, now: datetime, delivery: str | None = None) -> Readmission:
    """Readmit the quarantined rows of a source that are good under its current contract.

    Rows that turn out to be duplicates leave the quarantine as well.

    Args:
        source: the source, with its current contract.
        context: the lake and the keys.
        now: the time of ingestion in the new receipts.
        delivery: the beginning of a delivery ID. Only rows of the deliveries whose ID begins with it are readmitted.
            None for all deliveries.

    Raises:
        LakeCorruptionError: a file of the lake is missing, or does not match its receipt.
        IdentityError: the lines or amounts in a new receipt do not add up. That receipt was not committed.
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
    """A receipt with its rows that are still in quarantine, and what is needed to read these rows again."""

    number: int
    receipt: Receipt
    rows: pl.DataFrame
    source: Source
    context: IngestContext
    known_rows: KnownRows
    now: datetime

    def taken_back(self) -> TakenIn | None:
        """Read the rows again, and write those that are accepted now to the lake.

        Rows that are duplicates now leave the quarantine as well. If the file was quarantined as a whole, the rows that
        are still bad are quarantined individually.

        Returns the delivery with its new receipt, which is not committed yet. Returns None if no row can leave the
        quarantine. This is also the case if the file is refused again, or if its layout may be delivered only once and
        another file was accepted.
        """
        file = read_original(self.receipt, self.context)
        is_whole = (self.rows[LINE_NO] == WHOLE_FILE).any()
        try:
            parsed = parse(file, self.source.contract)
            if is_whole and parsed.layout.delivered_once and has_accepted(parsed.layout, self.source, self.context):
                return None
            parsed = parsed if is_whole else parsed.only(self.rows)
            blank = blank_receipt(file, self.source, self.now)
            rows = classify(parsed, self.source, self.context, self.known_rows, blank, compare=True)
        except DeliveryRefusedError:
            return None
        if not rows.tables and rows.duplicates.is_empty():
            return None
        part = f"-{self._root}.{1 + self._before}"
        if is_whole:
            taken = write(blank, parsed, rows, self.source, self.context, part)
            notes, change = self._notes([WHOLE_FILE], rows), self._change_of_whole(taken.receipt)
        else:
            good = replace(rows, rejected=rows.rejected.clear())
            taken = write(blank, parsed, good, self.source, self.context, part)
            leaving = self.rows.join(rows.rejected, on=LINE_NO, how="anti")
            notes = self._notes(leaving[LINE_NO].to_list(), rows)
            change = self._change(taken.receipt, leaving, parsed.amounts)
        path = Path(QUARANTINE) / self.source.name / f"{self.receipt.delivery_id}{part}.{READMITTED}.parquet"
        digest = write_parquet(notes, self.context.lake / path, flushed=False)
        files = (*taken.receipt.files, LakeFile(READMITTED, str(path), digest, notes.height))
        reason = f"readmitted under contract {self.source.contract.version}; held under {self.receipt.contract_version}"
        receipt = replace(change, state=State.READMITTED, reason=reason, files=files, readmits=self._root)
        return TakenIn(receipt, taken.keys, taken.personal_values)

    @property
    def _root(self) -> int:
        """Return the number of the first receipt of the file."""
        return self.receipt.readmits or self.number

    @property
    def _before(self) -> int:
        """Return how many readmissions of the file's rows were committed before."""
        return len(self.context.book.numbered("readmits = ?", (self._root,)))

    def _notes(self, lines: list[int], rows: ClassifiedRows) -> pl.DataFrame:
        duplicates = set(rows.duplicates[LINE_NO])
        notes = [(self.number, line, KNOWN_BY_THEN if line in duplicates else TAKEN_BACK) for line in lines]
        return pl.DataFrame(notes, schema=NOTES, orient="row")

    def _change(self, now: Receipt, left: pl.DataFrame, amounts: pl.DataFrame) -> Receipt:
        """Return the receipt of a readmission, whose counts are changes to the counts of earlier receipts.

        The landed amount changes if an amount that could not be read before can be read now. Before, it counted as 0.

        Args:
            now: the receipt of the rows that were written in this readmission.
            left: the rows that leave the quarantine.
            amounts: the control amount of each record, read under the current contract.
        """
        before = int(left["minor"].sum())
        return replace(
            now,
            landed_rows=0,
            quarantined_rows=-int(left[LINES].sum()),
            landed_minor=minor_of(amounts, left) - before,
            quarantined_minor=-before,
        )

    def _change_of_whole(self, now: Receipt) -> Receipt:
        """Return the receipt of a readmission of a whole file, whose counts are changes.

        `now` is the receipt of the whole file under the current contract. The counts of the earlier receipt are
        subtracted from the landed and quarantined counts.
        """
        then = self.receipt
        return replace(
            now,
            landed_rows=now.landed_rows - then.landed_rows,
            quarantined_rows=now.quarantined_rows - then.quarantined_rows,
            landed_minor=now.landed_minor - then.landed_minor,
            quarantined_minor=now.quarantined_minor - then.quarantined_minor,
        )
