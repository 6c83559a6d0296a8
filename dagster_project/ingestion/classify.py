"""From the records of a file to what becomes of each line: canonical rows, a rule that it breaks, or a duplicate.

First the row rules, which look at a row alone; then what a row says of others: of loans that are known, and of rows
that are here already.
"""

from dataclasses import dataclass, replace

import polars as pl

from dagster_project.ingestion.contracts.canonical import SUPERSEDED, raw_schema
from dagster_project.ingestion.contracts.contract import ContractError, Table
from dagster_project.ingestion.contracts.source import Source
from dagster_project.ingestion.lake.context import IngestContext
from dagster_project.ingestion.lake.receipts import Receipt
from dagster_project.ingestion.lake.row_index import KnownRows
from dagster_project.ingestion.parsing.records import LINE_NO, LINES, DeliveryRefusedError, Records
from dagster_project.ingestion.parsing.row_rules import Checked, Typed, check_rows
from dagster_project.keys.master import Keys

BAD = {
    LINE_NO: pl.Int64(),
    "rule": pl.String(),
    "message": pl.String(),
    "against_delivery_id": pl.String(),
    "against_line_no": pl.Int64(),
}

_NO_BAD = pl.DataFrame(schema=BAD)
_NOTHING_WRONG = pl.DataFrame(schema={c: BAD[c] for c in (LINE_NO, "rule", "message")})
_NOT_SUPERSEDED = pl.DataFrame(schema=raw_schema(SUPERSEDED))


@dataclass(frozen=True)
class ClassifiedRows:
    """What became of a file's lines.

    `good`: line_no and typed columns of those that are accepted. `tables`: the same in the canonical shape. `bad`:
    line_no, rule, message, and for a conflict the accepted line that it is against. `duplicates`: line_no.
    `superseded`: rows of that canonical table.
    """

    good: pl.DataFrame
    tables: dict[str, pl.DataFrame]
    bad: pl.DataFrame
    duplicates: pl.DataFrame
    superseded: pl.DataFrame


def classify_rows(
    records: Records,
    typed: Typed,
    layout: Table,
    source: Source,
    context: IngestContext,
    known_rows: KnownRows,
    receipt: Receipt,
    *,
    compare: bool,
) -> ClassifiedRows:
    """Say of every record what becomes of it.

    `typed`: the same records, see `read_as`. `compare`: look for the rows among those that are known; without, the
    caller knows that their keys are new.

    Raises:
        DeliveryRefusedError: the file ends in the middle of a record.
        ContractError: the adapter makes other tables than the contract says.
    """
    checked = check_rows(typed, layout)
    _refuse_cut_off(records, checked)
    checked = _limit_bad_share(checked, records, context.max_bad_row_share)
    good, bad = checked.good, _all_bad(checked, records)
    duplicates, superseded = checked.duplicates, _NOT_SUPERSEDED
    tables = _canonical(layout, good, source, context.keys, receipt)
    wrong = _wrong_beside_loans(tables, source, known_rows)
    if wrong.height:
        bad, good = _sorted(bad, wrong), good.join(wrong, on=LINE_NO, how="anti")
        tables = _canonical(layout, good, source, context.keys, receipt)
    if compare and good.height:
        matches = known_rows.match(tables)
        superseded = matches.superseded
        if matches.duplicates.height or matches.conflicts.height:
            conflicts = matches.conflicts.with_columns(pl.lit("conflict").alias("rule"))
            bad, duplicates = _sorted(bad, conflicts), pl.concat([duplicates, matches.duplicates]).sort(LINE_NO)
            good = good.join(pl.concat([bad, duplicates], how="diagonal"), on=LINE_NO, how="anti")
            tables = _canonical(layout, good, source, context.keys, receipt)
    return ClassifiedRows(good, tables, bad, duplicates, superseded)


def lines_of(records: Records, rows: pl.DataFrame) -> int:
    """How many raw lines these records stand on."""
    if rows.is_empty():
        return 0
    if rows[LINE_NO].equals(records.text[LINE_NO]):  # all of them, as in nearly every file
        return int(records.text[LINES].sum())
    return int(places(records).join(rows, on=LINE_NO, how="semi")[LINES].sum())


def places(records: Records) -> pl.DataFrame:
    """Every record's line_no and lines."""
    even = records.text.select(LINE_NO, LINES)
    return pl.concat([even, records.ragged]) if records.ragged.height else even


def _refuse_cut_off(records: Records, checked: Checked) -> None:
    """A file may lack the last line's end; if its last record is bad as well, it was cut off there."""
    if not records.is_cut_off:
        return
    last = places(records)[LINE_NO].max()
    if (checked.bad[LINE_NO] == last).any() or (records.ragged[LINE_NO] == last).any():
        message = "the file ends in the middle of a record: send it again, whole"
        raise DeliveryRefusedError("truncated", message, records.landed)


def _limit_bad_share(checked: Checked, records: Records, limit: float) -> Checked:
    """Above the limit the whole delivery is bad: a file that is wrong in many rows is not trusted in the others.

    Counted are rows that are wrong in themselves: what is wrong only beside other deliveries says nothing about how
    this file was read.
    """
    wrong = lines_of(records, checked.bad) + int(records.ragged[LINES].sum())
    if wrong <= limit * records.landed:
        return checked
    message = f"{wrong} of {records.landed} lines break rules, more than {limit:.1%}: the whole file is held back"
    rest = checked.good.select(LINE_NO, pl.lit("too_many_bad_rows").alias("rule"), pl.lit(message).alias("message"))
    return replace(checked, good=checked.good.clear(), bad=pl.concat([checked.bad, rest]).sort(LINE_NO))


def _all_bad(checked: Checked, records: Records) -> pl.DataFrame:
    if checked.bad.is_empty() and records.ragged.is_empty():
        return _NO_BAD
    ragged = records.ragged.select(
        LINE_NO, pl.lit("ragged").alias("rule"), pl.lit("the row has another number of fields").alias("message")
    )
    return _sorted(_NO_BAD, checked.bad, ragged)


def _sorted(*bad: pl.DataFrame) -> pl.DataFrame:
    return pl.concat(bad, how="diagonal").sort(LINE_NO).select(list(BAD))


def _canonical(
    layout: Table, good: pl.DataFrame, source: Source, keys: Keys, receipt: Receipt
) -> dict[str, pl.DataFrame]:
    """The canonical tables of good rows, identifiers being pseudonyms, with their lineage."""
    if good.is_empty():
        return {}
    lineage = {
        "source": pl.lit(source.name),
        "delivery_id": pl.lit(receipt.delivery_id),
        "ingested_at": pl.lit(receipt.ingested_at, dtype=pl.Datetime("us")),
    }
    tables = {}
    personal = [c.name for c in layout.columns if c.classification == "personal"]  # an adapter never sees them
    for name, rows in source.adapt(layout.name, good.drop(personal), source.contract).items():
        table = source.contract.table(name)
        frame = _pseudonymise(rows, table, keys, source.name)
        schema = raw_schema(name)
        absent = set(schema) - set(frame.columns) - set(table.schema)
        added = {c: pl.lit(None, dtype=schema[c]) for c in absent} | lineage
        try:
            tables[name] = frame.select(added.get(c, pl.col(c)).alias(c) for c in schema).match_to_schema(schema)
        except (pl.exceptions.SchemaError, pl.exceptions.ColumnNotFoundError) as error:
            raise ContractError(f"{source.name}.{table.name}: not what the contract says: {error}") from None
    return tables


def _pseudonymise(frame: pl.DataFrame, table: Table, keys: Keys, source: str) -> pl.DataFrame:
    for column in table.columns:
        if column.classification == "identifier":
            known_rows = keys.pseudonyms(frame[column.name], f"{source}.{column.name}")
            frame = frame.with_columns(pl.col(column.name).replace_strict(known_rows["value"], known_rows["pseudonym"]))
    return frame


def _wrong_beside_loans(tables: dict[str, pl.DataFrame], source: Source, known_rows: KnownRows) -> pl.DataFrame:
    """Rows in another currency than the source's, and payments from before their loan's opening."""
    currency = source.contract.currency
    found = [
        (rows.filter(pl.col("currency") != currency), "other_currency", f"{name}.currency is not {currency}")
        for name, rows in tables.items()
        if "currency" in rows.columns and (rows["currency"] != currency).any()
    ]
    if "payments" in tables:
        early = known_rows.before_opening(tables["payments"])
        found.append((early, "before_opening", "the payment is of a day before its loan was opened"))
    wrong = [
        rows.select(LINE_NO, pl.lit(rule).alias("rule"), pl.lit(message).alias("message"))
        for rows, rule, message in found
        if rows.height
    ]
    if not wrong:
        return _NOTHING_WRONG
    return pl.concat([_NOTHING_WRONG, *wrong]).unique(LINE_NO, keep="first", maintain_order=True)
