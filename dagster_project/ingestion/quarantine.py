"""The quarantine: one row per quarantined record or refused file, with the rule that it breaks and its state.

The files of the quarantine never change. Notes about readmitted rows are in other files, which READMITTED receipts
name. The delivered text stays encrypted in the quarantine.
"""

from collections.abc import Iterable
from datetime import datetime

import polars as pl

from dagster_project.ingestion.delivery import QUARANTINE
from dagster_project.ingestion.lake.context import IngestContext
from dagster_project.ingestion.lake.files import verified
from dagster_project.ingestion.lake.receipts import LakeFile, Receipt, State
from dagster_project.ingestion.parsing.records import LINE_NO, LINES

READMITTED = "readmitted"  # the lake's table of notes about readmitted rows
OPEN, TAKEN_BACK, KNOWN_BY_THEN = "open", "readmitted", "duplicate"
WHOLE_FILE = 0  # the line number in the row of a file that was refused as a whole
HELD: dict[str, pl.DataType] = {
    "source": pl.String(),
    "file_name": pl.String(),
    "delivery_id": pl.String(),
    "receipt_no": pl.Int64(),
    LINE_NO: pl.Int64(),
    LINES: pl.Int64(),
    "rule": pl.String(),
    "message": pl.String(),
    "first_seen_at": pl.Datetime("us"),
    "contract_version": pl.String(),
    "state": pl.String(),
    "against_delivery_id": pl.String(),
    "against_line_no": pl.Int64(),
    "minor": pl.Int64(),
}
NOTES: dict[str, pl.DataType] = {"receipt_no": pl.Int64(), LINE_NO: pl.Int64(), "outcome": pl.String()}


def held(context: IngestContext, source: str | None = None, until: datetime | None = None) -> pl.DataFrame:
    """All rows that were ever quarantined, with the columns of `HELD`, in the order of their receipts.

    `receipt_no` is the receipt that counted the row as quarantined. `minor` is the row's control amount in that
    receipt, in minor units.

    Args:
        context: the lake.
        source: only the rows of this source; None for all sources.
        until: the state of the quarantine at this instant; None for now.

    Raises:
        LakeCorruptionError: a file of the quarantine does not match its receipt.
    """
    found = context.book.numbered("source = ?", (source,)) if source else context.book.numbered()
    receipts = [(n, r) for n, r in found if until is None or r.ingested_at <= until]
    # Nearly every receipt has nothing in quarantine.
    rows = [_rows(n, r, context) for n, r in receipts if r.quarantined_rows or any(_files(r, QUARANTINE))]
    notes = [pl.read_parquet(verified(context.lake, f)) for _, r in receipts for f in _files(r, READMITTED)]
    outcomes = pl.concat([pl.DataFrame(schema=NOTES), *notes])
    return (
        pl.concat([pl.DataFrame(schema=HELD).drop("state"), *rows])
        .join(outcomes, on=["receipt_no", LINE_NO], how="left")
        .with_columns(pl.col("outcome").fill_null(OPEN).alias("state"))
        .select(list(HELD))
        .sort("receipt_no", LINE_NO)
    )


def counts(rows: pl.DataFrame) -> pl.DataFrame:
    """Count quarantined lines per source and rule.

    `files`: number of deliveries. `open`: lines still in quarantine. `readmitted`: lines that left it, duplicates
    included.
    """
    return (
        rows.group_by("source", "rule")
        .agg(
            pl.col("delivery_id").n_unique().alias("files"),
            pl.col(LINES).filter(pl.col("state") == OPEN).sum().alias("open"),
            pl.col(LINES).filter(pl.col("state") != OPEN).sum().alias("readmitted"),
        )
        .sort("source", "rule")
    )


def _files(receipt: Receipt, table: str) -> Iterable[LakeFile]:
    return (f for f in receipt.files if f.table == table)


def _rows(number: int, receipt: Receipt, context: IngestContext) -> pl.DataFrame:
    """The rows that one receipt counted as quarantined; one row if the whole file was refused."""
    columns = [c for c in HELD if c != "state"]
    files = list(_files(receipt, QUARANTINE))
    own = {"file_name": pl.lit(receipt.file_name), "receipt_no": pl.lit(number, dtype=pl.Int64())}
    own |= {"contract_version": pl.lit(receipt.contract_version)}
    parts = [
        pl.read_parquet(verified(context.lake, f), columns=[c for c in columns if c not in own]).with_columns(**own)
        for f in files
    ]
    if receipt.state is State.QUARANTINED and not files:
        rule, _, message = str(receipt.reason).partition(": ")
        whole = {
            "source": receipt.source,
            "delivery_id": receipt.delivery_id,
            LINE_NO: WHOLE_FILE,
            LINES: receipt.quarantined_rows,
            "rule": rule,
            "message": message,
            "first_seen_at": receipt.ingested_at,
            "minor": receipt.quarantined_minor,
        }
        schema = {c: HELD[c] for c in columns if c not in own}
        parts.append(pl.DataFrame([whole], schema=schema).with_columns(**own))
    return pl.concat([pl.DataFrame(schema={c: HELD[c] for c in columns}), *(p.select(columns) for p in parts)])
