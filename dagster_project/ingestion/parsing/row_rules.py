"""The rules that a contract sets for rows, and their application to records of text.

After the rules have been applied, every row is good, bad or a duplicate. A good row has typed columns. A bad row has
the id of the first rule that it breaks, and a message that names the column but never quotes the value. `_column_rules`
lists the rules for one column, and `_split_repeated` compares the rows that have the same key. Rules that need several
columns, other rows of the lake or the day of delivery are in `classify.cross_check`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, reduce
from operator import or_
from typing import NamedTuple

import numpy as np
import polars as pl

from dagster_project.ingestion.contracts.canonical import MONEY, RATE
from dagster_project.ingestion.contracts.contract import Column, Table
from dagster_project.ingestion.parsing.key_hash import key_hash
from dagster_project.ingestion.parsing.records import LINE_NO

# [0-9] instead of \d, because \d also matches digits of other scripts.
MONEY_PATTERN = r"^-?[0-9]{1,16}(\.[0-9]{1,2})?$"
_INTEGER_PATTERN = r"^-?[0-9]{1,9}$"
_RATE_PATTERN = r"^-?[0-9]{1,3}(\.[0-9]{1,6})?$"
_DATE_PATTERNS = {"%Y-%m-%d": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", "%m-%d-%Y": r"^[0-9]{2}-[0-9]{2}-[0-9]{4}$"}
MAX_FIELD_BYTES = 1_000_000
_WORDS = re.compile(r"^\^(?:(\w+)|\((\w+(?:\|\w+)*)\))\$$", re.ASCII)
_TYPED = "typed:"  # prefix of the typed column that is read from a text column
_NO_BAD = pl.DataFrame(schema={LINE_NO: pl.Int64, "rule": pl.String, "message": pl.String})
_NO_LINES = pl.DataFrame(schema={LINE_NO: pl.Int64})


@dataclass(frozen=True)
class Checked:
    """The records of a file after the rules have been applied.

    Attributes:
        good: the good rows, with `line_no` and the typed columns.
        bad: `line_no`, `rule` and `message` of each bad row.
        duplicates: `line_no` of each row that repeats an earlier row of the file.
    """

    good: pl.DataFrame
    bad: pl.DataFrame
    duplicates: pl.DataFrame


@dataclass(frozen=True)
class Typed:
    """Records with typed columns, and the rules that apply to them.

    Attributes:
        rows: the text columns, and a typed column for each of them (see `typed`). The typed value is null if the text
            cannot be converted to the type.
        rules: the rules that apply to the records.
    """

    rows: pl.DataFrame
    rules: "_Rules"


def read_as(text: pl.DataFrame, layout: Table) -> Typed:
    """Add a typed column for each text column, with the types that the layout states."""
    rules = _rules(layout, _constant(text, layout))
    return Typed(text.with_columns(rules.typed), rules)


def typed(column: Column) -> pl.Expr:
    """Return an expression for the typed version of a column in `Typed.rows`."""
    return pl.col(_TYPED + column.name)


def check_rows(records: Typed, layout: Table) -> Checked:
    """Check every record against the rules of the layout.

    The result separates good rows, bad rows and duplicates.
    """
    sound, bad, rules = records.rows, _NO_BAD, records.rules
    if not sound.select(rules.hold).item():  # only few files get here: find the rule that each row breaks
        marked = sound.with_columns(rules.broken)
        bad = marked.drop_nulls("_broken").join(rules.names, on="_broken", how="left").sort(LINE_NO)
        bad = bad.select(LINE_NO, "rule", "message")
        sound = marked.filter(pl.col("_broken").is_null())
    rows = sound.select(LINE_NO, *(typed(column).alias(column.name) for column in layout.columns))
    return _split_repeated(rows, bad, layout)


def _constant(text: pl.DataFrame, layout: Table) -> frozenset[str]:
    """Return the names of the columns that have the same value in every row.

    In a daily file, for example, the date is often the same in every row. If there are no rows, the result is empty.
    """
    columns = [text[name] for name in layout.schema] if text.height else []
    may_be = [pl.col(c.name) for c in columns if c[0] == c[-1]]
    same = text.select(column.eq_missing(column.first()).all() for column in may_be)
    return frozenset(column.name for column in same if column[0])


class _Rules(NamedTuple):
    """The rules of a layout, as Polars expressions.

    Attributes:
        typed: one expression for each typed column.
        hold: an expression that is true if every row obeys every rule.
        broken: an expression for the number of the first rule that a row breaks. It is null if the row breaks no rule.
        names: a frame with the id and the message of each rule, by the rule's number.
    """

    typed: list[pl.Expr]
    hold: pl.Expr
    broken: pl.Expr
    names: pl.DataFrame


@lru_cache
def _rules(layout: Table, constant: frozenset[str]) -> _Rules:
    """Build the rules of a layout.

    In the columns named in `constant`, every row has the same value, so the rules check only the first row. The result
    is cached, because building the rules takes about as long as applying them to a daily file.
    """

    def read(name: str) -> pl.Expr:
        return pl.col(name).first() if name.removeprefix(_TYPED) in constant else pl.col(name)

    columns = [(column, read(column.name), read(_TYPED + column.name)) for column in layout.columns]
    rules = [rule for column in columns for rule in _column_rules(*column)]
    # A rule that gives null ignores an empty value; only the rule `required` rejects empty values.
    hold = pl.all_horizontal(holds.all(ignore_nulls=True) for _, _, holds in rules)
    broken = pl.coalesce(
        *(pl.when(~holds.fill_null(value=True)).then(pl.lit(i)) for i, (_, _, holds) in enumerate(rules))
    )
    names = pl.DataFrame(
        {
            "_broken": range(len(rules)),
            "rule": [name for name, _, _ in rules],
            "message": [message for _, message, _ in rules],
        },
        schema={"_broken": pl.Int32, "rule": pl.String, "message": pl.String},
    )
    as_typed = [_typed(column, value).alias(_TYPED + column.name) for column, value, _ in columns]
    return _Rules(as_typed, hold, broken.alias("_broken"), names)


def money_within_bounds(column: Column) -> pl.Expr:
    """Return an expression for a money column of `Typed.rows`, as DECIMAL(18, 2).

    It is null if the text is not an amount, or if the amount is outside the bounds of the column.
    """
    amount = typed(column)
    if column.minimum is not None:
        amount = pl.when(amount >= column.minimum).then(amount)
    return amount if column.maximum is None else pl.when(amount <= column.maximum).then(amount)


def _column_rules(column: Column, value: pl.Expr, typed: pl.Expr) -> Iterator[tuple[str, str, pl.Expr]]:
    """Yield (rule id, message, expression) for each rule of a column.

    The expression is true in rows that obey the rule. It is false in rows that break it, and null in rows where the
    rule does not apply because the value is empty.

    Args:
        column: the column in the layout.
        value: an expression for the column as text.
        typed: an expression for the typed column.
    """
    name = column.name
    yield f"{name}:size", f"{name} is longer than 1 MB", value.str.len_bytes() <= MAX_FIELD_BYTES
    if column.required:
        yield f"{name}:required", f"{name} is empty", value.is_not_null()
    if column.is_money:
        is_read = value.is_null() | typed.is_not_null()  # every text that matches the pattern fits the type
        yield f"{name}:money", f"{name} is no amount with at most 2 decimals", is_read
    elif column.dtype == pl.Int32:
        yield f"{name}:integer", f"{name} is no whole number", value.str.contains(_INTEGER_PATTERN)
    elif column.dtype == pl.Date:
        reads = value.is_null() | typed.is_not_null()
        real = value.str.contains(_DATE_PATTERNS[column.date_format]) & reads
        yield f"{name}:date", f"{name} is no date as {column.date_format}", real
    elif column.dtype == RATE:
        yield f"{name}:rate", f"{name} is no rate with at most 6 decimals", value.str.contains(_RATE_PATTERN)
    if column.pattern:
        yield f"{name}:pattern", f"{name} does not match its agreed pattern", _matches(value, column.pattern)
    if column.dtype != pl.String:
        # A value that passes the rules above must also convert, so that no value silently becomes null.
        yield f"{name}:type", f"{name} cannot be read as {column.dtype}", value.is_null() | typed.is_not_null()
    if column.minimum is not None:
        yield f"{name}:minimum", f"{name} is below {column.minimum}", typed >= column.minimum
    if column.maximum is not None:
        yield f"{name}:maximum", f"{name} is above {column.maximum}", typed <= column.maximum


def _matches(value: pl.Expr, pattern: str) -> pl.Expr:
    """Return an expression that is true if a text matches a pattern.

    Most patterns are lists of words, such as `^(yes|no)$`. For these the text is compared with each word, without a
    regular expression.
    """
    words = _WORDS.match(pattern)
    if not words:
        return value.str.contains(pattern)
    return reduce(or_, (value == word for word in (words[1] or words[2]).split("|")))


def _typed(column: Column, value: pl.Expr) -> pl.Expr:
    if column.is_money:
        return pl.when(value.str.contains(MONEY_PATTERN)).then(value).cast(MONEY, strict=False)
    if column.dtype == pl.Date:
        return value.str.to_date(column.date_format, strict=False)
    return value.cast(column.dtype, strict=False)


def _split_repeated(typed: pl.DataFrame, bad: pl.DataFrame, layout: Table) -> Checked:
    """Find rows that share a key, and separate duplicates and conflicts from the other rows.

    If all rows with the same key have the same content, the first row stays good and the others are duplicates. If any
    of them differ, all rows with this key are bad (rule `key_conflict`).

    Args:
        typed: the rows that break no rule of a column.
        bad: the rows that are already known to be bad. They are part of the result.
        layout: the layout, which defines the key.
    """
    key, content = list(layout.key), list(layout.schema)
    # Equal keys have equal hashes. So if no hash occurs twice, as in nearly every file, no key does.
    hashes = np.sort(typed.select(key_hash(key)).to_series().to_numpy())
    if not (hashes[1:] == hashes[:-1]).any():
        return Checked(typed, bad, _NO_LINES)
    repeated = typed.filter(pl.struct(key).is_duplicated())
    if repeated.is_empty():
        return Checked(typed, bad, _NO_LINES)
    versions = repeated.group_by(key).agg(pl.struct(content).n_unique().alias("_versions"))
    conflicting = repeated.join(versions.filter(pl.col("_versions") > 1), on=key, how="semi")
    first = typed.group_by(content).agg(pl.col(LINE_NO).min())[LINE_NO]
    rest = typed.filter(~pl.col(LINE_NO).is_in(conflicting[LINE_NO].implode()))
    message = f"another row of this delivery has the same {', '.join(key)} and different content"
    conflicts = conflicting.select(LINE_NO, pl.lit("key_conflict").alias("rule"), pl.lit(message).alias("message"))
    is_first = pl.col(LINE_NO).is_in(first.implode())
    return Checked(
        good=rest.filter(is_first),
        bad=pl.concat([bad, conflicts]).sort(LINE_NO),
        duplicates=rest.filter(~is_first).select(LINE_NO),
    )
