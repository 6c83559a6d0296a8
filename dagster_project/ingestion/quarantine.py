"""Functions that read the quarantine, which has one row per quarantined record or refused file.

Each row has the rule that was broken and the current state. The delivered text stays encrypted. Files of the
quarantine never change. When rows are readmitted, notes about them are written to separate files, which the receipt
of the readmission names.
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
    """Return all rows that were ever quarantined, with their state, sorted by receipt and line.

    The result has the columns of `HELD`, among them:

    - `receipt_no`: the number of the receipt that counted the row as quarantined.
    - `minor`: the control amount that this receipt counted for the row, in minor units.
    - `state`: `open`, `readmitted`, or `duplicate` if the row turned out to be a duplicate when it was readmitted.

    Args:
        context: the lake and its receipts.
        source: the name of the source whose rows are returned, or None for all sources.
        until: return the quarantine as it was at this time, or None for its current state.

    Raises:
        LakeCorruptionError: a file of the quarantine is missing, or does not match its receipt.
    """
    found = context.book.numbered("source = ?", (source,)) if source else context.book.numbered()
    receipts = [(n, r) for n, r in found if until is None or r.ingested_at <= until]
    # Nearly every receipt has nothing in quarantine. An empty file that was refused has no rows, but is listed.
    rows = [
        _rows(number, receipt, context)
        for number, receipt in receipts
        if receipt.state is State.QUARANTINED or any(_files(receipt, QUARANTINE))
    ]
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
    """Return the number of quarantined lines per source and rule.

    `rows` has the columns of `HELD`. The result has these columns besides `source` and `rule`:

    - `files`: the number of deliveries.
    - `open`: the number of lines that are still in quarantine.
    - `readmitted`: the number of lines that have left the quarantine, including those that were duplicates.
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
    """Return the rows that one receipt counted as quarantined, without their state.

    If the file was refused as a whole, the result is one row with the line number `WHOLE_FILE`. If nothing was
    quarantined, the result is empty.
    """
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
