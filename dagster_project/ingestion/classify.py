"""Functions that decide the outcome of each line of a delivered file: accepted, rejected by a rule, or duplicate.

`classify` calls the following steps in order. Each step takes and returns data frames.

- `validate` applies the rules that need only the file itself.
- `make_canonical` converts the good rows to canonical tables.
- `cross_check` rejects rows in the wrong currency, and rows whose dates cannot be right.
- `deduplicate` compares the rows with the rows in the lake.
"""

from dataclasses import dataclass, replace
from datetime import date, timedelta

import polars as pl

from dagster_project.ingestion.contracts.canonical import HAPPENED, MONTH_ENDS, PERSONS, raw_schema
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
EARLIEST = date(1900, 1, 1)  # no living person was lent money before


@dataclass(frozen=True)
class ClassifiedRows:
    """The lines of one file, grouped by outcome.

    Attributes:
        accepted: the accepted rows, with `line_no` and the typed columns of the layout.
        tables: the accepted rows as canonical tables, by table name.
        rejected: the rejected lines, with the columns of `REJECTED`. If a line contradicts a row in the lake,
            `against_delivery_id` and `against_line_no` identify that row; otherwise both are null.
        duplicates: the `line_no` of each duplicate line.
        superseded: rows for the canonical table `superseded`, which record the row versions that corrections replace.
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
    """Decide the outcome of every line of a parsed file.

    Args:
        parsed: the parsed file.
        source: the source that delivered the file.
        context: the keys and limits of ingestion.
        known_rows: the rows of this source that are already in the lake.
        receipt: the delivery's receipt, which provides the values of the lineage columns.
        compare: whether to compare the rows with the rows in the lake. If False, the caller must make sure that none
            of the file's keys is in the lake before it commits the receipt.

    Raises:
        DeliveryRefusedError: the file ends in the middle of a record.
        ContractError: the tables that the adapter built differ from the contract.
    """
    checked = validate(parsed, context.max_bad_row_share)
    tables = make_canonical(parsed.layout, checked.good, source, context.keys, receipt)
    contradicting = cross_check(tables, source, known_rows, receipt.ingested_at.date())
    good, tables = _without(contradicting, checked.good, tables)
    matches = deduplicate(tables, known_rows) if compare else NO_MATCHES
    good, tables = _without(pl.concat([matches.conflicts, matches.duplicates], how="diagonal"), good, tables)
    conflicts = matches.conflicts.with_columns(pl.lit("conflict").alias("rule"))
    return ClassifiedRows(
        accepted=good,
        tables=first_row_of_each_person(tables, source.contract),
        rejected=_in_order(_ragged(parsed), checked.bad, contradicting, conflicts),
        duplicates=pl.concat([checked.duplicates, matches.duplicates]).sort(LINE_NO),
        superseded=matches.superseded,
    )


def validate(parsed: Parsed, max_bad_row_share: float) -> Checked:
    """Apply the rules of the layout to each row, and return the good rows, the bad rows and the duplicates.

    If the share of bad lines exceeds `max_bad_row_share`, all good rows are returned as bad rows as well.

    Raises:
        DeliveryRefusedError: the file ends in the middle of a record.
    """
    checked = check_rows(parsed.typed, parsed.layout)
    _refuse_truncated(parsed, checked)
    return _limit_bad_share(checked, parsed, max_bad_row_share)


def make_canonical(layout: Table, good: pl.DataFrame, source: Source, keys: Keys, receipt: Receipt) -> Tables:
    """Convert good rows to canonical tables.

    Identifiers are replaced by pseudonyms, and the lineage columns are added. The adapter does not receive the columns
    that are classified as personal.

    Returns the tables by name. If there are no good rows, the result is empty.

    Raises:
        ContractError: a table that the adapter built does not have the columns and types of the contract.
    """
    if good.is_empty():
        return {}
    lineage = {
        "source": pl.lit(source.name),
        "delivery_id": pl.lit(receipt.delivery_id),
        "ingested_at": pl.lit(receipt.ingested_at, dtype=pl.Datetime("us")),
    }
    tables = {}
    personal = [c.name for c in layout.columns if c.classification == "personal"]  # adapters get no personal data
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


def cross_check(tables: Tables, source: Source, known_rows: KnownRows, delivered_on: date) -> pl.DataFrame:
    """Return the rows to reject because of their currency or their dates.

    A row is rejected for any of these reasons:

    - Its currency is not the currency of the source.
    - It happened before `EARLIEST`, or later than the day after its delivery. That day is allowed, because days begin
      earlier in other time zones.
    - It is a row of a month, and its date is no month-end.
    - It is a payment dated before its loan was opened, if the loan is already in the lake.

    The result has the columns of `REJECTED` and at most one row per line. It is empty if there is nothing to reject.
    """
    currency, latest = source.contract.currency, delivered_on + timedelta(days=1)
    found = []
    for name, rows in tables.items():
        if "currency" in rows.columns:
            is_other = pl.col("currency") != currency
            found.append((rows.filter(is_other), "other_currency", f"{name}.currency is not {currency}"))
        for column in dict.fromkeys([HAPPENED[name], "event_on"] if name in HAPPENED else ["event_on"]):
            where = f"{name}.{column}" if column != "event_on" else f"the day of the event in {name}"
            found.append((rows.filter(pl.col(column) > latest), "in_the_future", f"{where} is after the delivery"))
            early = rows.filter(pl.col(column) < EARLIEST)
            found.append((early, "too_early", f"{where} is before {EARLIEST:%Y-%m-%d}"))
        if column_of_month := MONTH_ENDS.get(name):
            inside = rows.filter(pl.col(column_of_month) != pl.col(column_of_month).dt.month_end())
            found.append((inside, "no_month_end", f"{name}.{column_of_month} is not the last day of a month"))
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
    """Return the lines that repeat, contradict or correct rows in the lake.

    The result is `NO_MATCHES` if there are no tables.
    """
    return known_rows.match(tables) if tables else NO_MATCHES


def count_lines(parsed: Parsed, rows: pl.DataFrame) -> int:
    """Return the number of raw lines that the given records span.

    `rows` is a frame with the `line_no` of each record to count. A record spans several raw lines if it contains
    quoted line breaks.
    """
    if rows.is_empty():
        return 0
    text = parsed.records.text
    if rows[LINE_NO].equals(text[LINE_NO]):  # these are all records, as in nearly every file
        return int(text[LINES].sum())
    return int(line_spans(parsed.records).join(rows, on=LINE_NO, how="semi")[LINES].sum())


def _refuse_truncated(parsed: Parsed, checked: Checked) -> None:
    """Raise a DeliveryRefusedError if the file was cut off.

    A file was cut off if its last line has no line break and its last record is bad. A missing line break after a good
    record is allowed.
    """
    records = parsed.records
    if not records.is_cut_off:
        return
    last = line_spans(records)[LINE_NO].max()
    if (checked.bad[LINE_NO] == last).any() or (records.ragged[LINE_NO] == last).any():
        message = "the file ends in the middle of a record: send it again, whole"
        raise DeliveryRefusedError("truncated", message, records.landed)


def _limit_bad_share(checked: Checked, parsed: Parsed, limit: float) -> Checked:
    """Reject the good rows of a file as well if its share of bad lines exceeds `limit`.

    A file with many bad lines may have been misread as a whole. Conflicts with rows in the lake do not suggest this, so
    they are not counted.
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
    """Remove the given lines from the good rows and from the canonical tables.

    If no good rows remain, return no tables at all.
    """
    if lines.is_empty():
        return good, tables
    is_left = ~pl.col(LINE_NO).is_in(lines[LINE_NO].implode())
    good = good.filter(is_left)
    return good, {name: rows.filter(is_left) for name, rows in tables.items()} if good.height else {}


def first_row_of_each_person(tables: Tables, contract: Contract, *more_keys: str) -> Tables:
    """Keep the earliest row of each person. A person with two loans occurs in two lines of a file.

    `more_keys`: columns within whose values the first row is kept, for rows of several files.
    """
    return {
        name: rows.sort(*more_keys, "event_on", LINE_NO).unique(
            [*more_keys, *contract.table(name).key], keep="first", maintain_order=True
        )
        if name in PERSONS
        else rows
        for name, rows in tables.items()
    }


def _ragged(parsed: Parsed) -> pl.DataFrame:
    rule, message = pl.lit("ragged").alias("rule"), pl.lit("the row has another number of fields").alias("message")
    return parsed.records.ragged.select(LINE_NO, rule, message)


def _in_order(*rejected: pl.DataFrame) -> pl.DataFrame:
    """Combine the rejected lines into one frame with the columns of `REJECTED`, sorted by line number."""
    some = [rows for rows in rejected if rows.height]
    return pl.concat([_NONE_REJECTED, *some], how="diagonal").sort(LINE_NO).select(list(REJECTED))
