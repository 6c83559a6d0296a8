"""The outcome of each line of a file: accepted, rejected by a rule, or a duplicate.

`classify` lists the steps. Each takes frames and returns frames: validate looks at a row by itself; make_canonical
brings good rows into the canonical shape, once; cross_check compares them with the loans that are known; deduplicate
with the rows that the lake already has.
"""

from dataclasses import dataclass, replace

import polars as pl

from dagster_project.ingestion.contracts.canonical import PERSONS, raw_schema
from dagster_project.ingestion.contracts.contract import Contract, ContractError, Table
from dagster_project.ingestion.contracts.source import Source
from dagster_project.ingestion.lake.context import IngestContext
from dagster_project.ingestion.lake.receipts import Receipt
from dagster_project.ingestion.lake.row_index import NO_MATCHES, KeyMatches, KnownRows
from dagster_project.ingestion.parsing.parse import Parsed, line_spans
from dagster_project.ingestion.parsing.records import LINE_NO, LINES, DeliveryRefusedError
from dagster_project.ingestion.parsing.row_rules import Checked, check_rows
from dagster_project.keys.master import Keys

Tables = dict[str, pl.DataFrame]

REJECTED: dict[str, pl.DataType] = {
    LINE_NO: pl.Int64(),
    "rule": pl.String(),
    "message": pl.String(),
    "against_delivery_id": pl.String(),
    "against_line_no": pl.Int64(),
}
_NONE_REJECTED = pl.DataFrame(schema=REJECTED)


@dataclass(frozen=True)
class ClassifiedRows:
    """The lines of a file by outcome.

    `accepted`: line_no and typed columns. `tables`: the accepted rows in the canonical shape. `rejected`: line_no,
    rule, message, and for a conflict the accepted line that it contradicts. `duplicates`: line_no. `superseded`: rows
    of that canonical table, for accepted corrections.
    """

    accepted: pl.DataFrame
    tables: Tables
    rejected: pl.DataFrame
    duplicates: pl.DataFrame
    superseded: pl.DataFrame


def classify(
    parsed: Parsed,
    source: Source,
    context: IngestContext,
    known_rows: KnownRows,
    receipt: Receipt,
    *,
    compare: bool,
) -> ClassifiedRows:
    """Find the outcome of every line of a parsed file.

    `compare`: look for the rows in the lake; without it the caller guarantees that their keys are new.

    Raises:
        DeliveryRefusedError: the file ends in the middle of a record.
        ContractError: the adapter makes other tables than the contract says.
    """
    checked = validate(parsed, context.max_bad_row_share)
    tables = make_canonical(parsed.layout, checked.good, source, context.keys, receipt)
    contradicting = cross_check(tables, source, known_rows)
    good, tables = _without(contradicting, checked.good, tables)
    matches = deduplicate(tables, known_rows) if compare else NO_MATCHES
    good, tables = _without(pl.concat([matches.conflicts, matches.duplicates], how="diagonal"), good, tables)
    conflicts = matches.conflicts.with_columns(pl.lit("conflict").alias("rule"))
    return ClassifiedRows(
        accepted=good,
        tables=_first_row_of_each_person(tables, source.contract),
        rejected=_in_order(_ragged(parsed), checked.bad, contradicting, conflicts),
        duplicates=pl.concat([checked.duplicates, matches.duplicates]).sort(LINE_NO),
        superseded=matches.superseded,
    )


def validate(parsed: Parsed, max_bad_row_share: float) -> Checked:
    """Apply the layout's rules to each row; too many bad rows make the whole file bad.

    Raises:
        DeliveryRefusedError: the file ends in the middle of a record.
    """
    checked = check_rows(parsed.typed, parsed.layout)
    _refuse_truncated(parsed, checked)
    return _limit_bad_share(checked, parsed, max_bad_row_share)


def make_canonical(layout: Table, good: pl.DataFrame, source: Source, keys: Keys, receipt: Receipt) -> Tables:
    """The canonical tables of good rows, with pseudonyms in place of identifiers and with their lineage.

    Raises:
        ContractError: the adapter makes other tables than the contract says.
    """
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


def cross_check(tables: Tables, source: Source, known_rows: KnownRows) -> pl.DataFrame:
    """Rows in another currency than the source's, and payments before their loan's opening: line_no, rule, message."""
    currency = source.contract.currency
    found = [
        (rows.filter(pl.col("currency") != currency), "other_currency", f"{name}.currency is not {currency}")
        for name, rows in tables.items()
        if "currency" in rows.columns and (rows["currency"] != currency).any()
    ]
    if "payments" in tables:
        early = known_rows.before_opening(tables["payments"])
        found.append((early, "before_opening", "the payment is dated before its loan was opened"))
    rejected = [
        rows.select(LINE_NO, pl.lit(rule).alias("rule"), pl.lit(message).alias("message"))
        for rows, rule, message in found
        if rows.height
    ]
    if not rejected:
        return _NONE_REJECTED
    return pl.concat([_NONE_REJECTED, *rejected], how="diagonal").unique(LINE_NO, keep="first", maintain_order=True)


def deduplicate(tables: Tables, known_rows: KnownRows) -> KeyMatches:
    """The lines whose rows the lake already has, those that contradict it, and those that correct it."""
    return known_rows.match(tables) if tables else NO_MATCHES


def count_lines(parsed: Parsed, rows: pl.DataFrame) -> int:
    """How many raw lines these records span."""
    if rows.is_empty():
        return 0
    text = parsed.records.text
    if rows[LINE_NO].equals(text[LINE_NO]):  # all of them, as in nearly every file
        return int(text[LINES].sum())
    return int(line_spans(parsed.records).join(rows, on=LINE_NO, how="semi")[LINES].sum())


def _refuse_truncated(parsed: Parsed, checked: Checked) -> None:
    """A file may lack the last line's end; if its last record is bad as well, the file was cut off there."""
    records = parsed.records
    if not records.is_cut_off:
        return
    last = line_spans(records)[LINE_NO].max()
    if (checked.bad[LINE_NO] == last).any() or (records.ragged[LINE_NO] == last).any():
        message = "the file ends in the middle of a record: send it again, whole"
        raise DeliveryRefusedError("truncated", message, records.landed)


def _limit_bad_share(checked: Checked, parsed: Parsed, limit: float) -> Checked:
    """Above the limit the whole file is bad: where many rows are wrong, the others are not trusted.

    Only rows count that are wrong by themselves: a contradiction to another delivery is no sign of a file that was
    misread.
    """
    landed = parsed.records.landed
    wrong = count_lines(parsed, checked.bad) + int(parsed.records.ragged[LINES].sum())
    if wrong <= limit * landed:
        return checked
    message = f"{wrong} of {landed} lines break rules, more than {limit:.1%}: the whole file is held back"
    rest = checked.good.select(LINE_NO, pl.lit("too_many_bad_rows").alias("rule"), pl.lit(message).alias("message"))
    return replace(checked, good=checked.good.clear(), bad=pl.concat([checked.bad, rest]).sort(LINE_NO))


def _pseudonymise(frame: pl.DataFrame, table: Table, keys: Keys, source: str) -> pl.DataFrame:
    for column in table.columns:
        if column.classification == "identifier":
            pairs = keys.pseudonyms(frame[column.name], f"{source}.{column.name}")
            frame = frame.with_columns(pl.col(column.name).replace_strict(pairs["value"], pairs["pseudonym"]))
    return frame


def _without(lines: pl.DataFrame, good: pl.DataFrame, tables: Tables) -> tuple[pl.DataFrame, Tables]:
    """Good rows and canonical tables without these lines; no tables where no good row is left."""
    if lines.is_empty():
        return good, tables
    is_left = ~pl.col(LINE_NO).is_in(lines[LINE_NO].implode())
    good = good.filter(is_left)
    return good, {name: rows.filter(is_left) for name, rows in tables.items()} if good.height else {}


def _first_row_of_each_person(tables: Tables, contract: Contract) -> Tables:
    """A person with two loans is in two lines of a file, and is one row: the earliest."""
    return {
        name: rows.sort("event_on", LINE_NO).unique(contract.table(name).key, keep="first", maintain_order=True)
        if name in PERSONS
        else rows
        for name, rows in tables.items()
    }


def _ragged(parsed: Parsed) -> pl.DataFrame:
    rule, message = pl.lit("ragged").alias("rule"), pl.lit("the row has another number of fields").alias("message")
    return parsed.records.ragged.select(LINE_NO, rule, message)


def _in_order(*rejected: pl.DataFrame) -> pl.DataFrame:
    """All rejected lines in the shape of `REJECTED`, by line."""
    some = [rows for rows in rejected if rows.height]
    return pl.concat([_NONE_REJECTED, *some], how="diagonal").sort(LINE_NO).select(list(REJECTED))
