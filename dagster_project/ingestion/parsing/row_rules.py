"""Row rules from the contract: text in, typed rows and rejected rows out, every row in exactly one of them.

A rejected row carries the first rule it breaks and a message that names the column and never the value.
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

# [0-9] and not \d, which also takes the digits of other scripts.
MONEY_PATTERN = r"^-?[0-9]{1,16}(\.[0-9]{1,2})?$"
_INTEGER_PATTERN = r"^-?[0-9]{1,9}$"
_RATE_PATTERN = r"^-?[0-9]{1,3}(\.[0-9]{1,6})?$"
_DATE_PATTERNS = {"%Y-%m-%d": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", "%m-%d-%Y": r"^[0-9]{2}-[0-9]{2}-[0-9]{4}$"}
MAX_FIELD_BYTES = 1_000_000
_WORDS = re.compile(r"^\^(?:(\w+)|\((\w+(?:\|\w+)*)\))\$$", re.ASCII)
_TYPED = "typed:"  # what begins so is a column of text read as what it should be
_NO_BAD = pl.DataFrame(schema={LINE_NO: pl.Int64, "rule": pl.String, "message": pl.String})
_NO_LINES = pl.DataFrame(schema={LINE_NO: pl.Int64})


@dataclass(frozen=True)
class Checked:
    """`good`: line_no and typed columns; `bad`: line_no, rule, message; `duplicates`: line_no of repeated rows."""

    good: pl.DataFrame
    bad: pl.DataFrame
    duplicates: pl.DataFrame


@dataclass(frozen=True)
class Typed:
    """Records as text, and each column as what its layout says it is: null where a text cannot be read as that.

    `rows`: the records' columns, and those that `typed` names. `rules`: that they are held to.
    """

    rows: pl.DataFrame
    rules: "_Rules"


def read_as(text: pl.DataFrame, layout: Table) -> Typed:
    """Read the columns of records, which are text, as what a layout says that they are."""
    rules = _rules(layout, _constant(text, layout))
    return Typed(text.with_columns(rules.typed), rules)


def typed(column: Column) -> pl.Expr:
    """A column of `Typed.rows` as what it should be."""
    return pl.col(_TYPED + column.name)


def check_rows(records: Typed, layout: Table) -> Checked:
    """Apply every rule of `layout` to records."""
    sound, bad, rules = records.rows, _NO_BAD, records.rules
    if not sound.select(rules.hold).item():  # which one does not, in a few files alone
        marked = sound.with_columns(rules.broken)
        bad = marked.drop_nulls("_broken").join(rules.names, on="_broken", how="left").sort(LINE_NO)
        bad = bad.select(LINE_NO, "rule", "message")
        sound = marked.filter(pl.col("_broken").is_null())
    rows = sound.select(LINE_NO, *(typed(column).alias(column.name) for column in layout.columns))
    return _split_repeated(rows, bad, layout)


def _constant(text: pl.DataFrame, layout: Table) -> frozenset[str]:
    """The columns that have one value throughout, as the day in a day's file often has."""
    columns = [text[name] for name in layout.schema] if text.height else []
    may_be = [pl.col(c.name) for c in columns if c[0] == c[-1]]
    same = text.select(column.eq_missing(column.first()).all() for column in may_be)
    return frozenset(column.name for column in same if column[0])


class _Rules(NamedTuple):
    """Of a layout: its columns as what they should be, and its rules.

    `hold`: whether all do, in all rows. `broken`: the number of the first that a row breaks. `names`: by number.
    """

    typed: list[pl.Expr]
    hold: pl.Expr
    broken: pl.Expr
    names: pl.DataFrame


@lru_cache
def _rules(layout: Table, constant: frozenset[str]) -> _Rules:
    """The rules of a layout; of a column that is constant only the first text is read.

    To put them together took as long as to apply them to a day's file.
    """

    def read(name: str) -> pl.Expr:
        return pl.col(name).first() if name.removeprefix(_TYPED) in constant else pl.col(name)

    columns = [(column, read(column.name), read(_TYPED + column.name)) for column in layout.columns]
    rules = [rule for column in columns for rule in _column_rules(*column)]
    # A null means that the rule has nothing to say about an absent value; `required` says it.
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
    """A column of `Typed.rows` as DECIMAL(18, 2); null where it is no amount, or outside of the column's bounds."""
    amount = typed(column)
    if column.minimum is not None:
        amount = pl.when(amount >= column.minimum).then(amount)
    return amount if column.maximum is None else pl.when(amount <= column.maximum).then(amount)


def _column_rules(column: Column, value: pl.Expr, typed: pl.Expr) -> Iterator[tuple[str, str, pl.Expr]]:
    """(rule id, message, expression that is true where the rule holds) for one column, as text and as `typed`."""
    name = column.name
    yield f"{name}:size", f"{name} is longer than 1 MB", value.str.len_bytes() <= MAX_FIELD_BYTES
    if column.required:
        yield f"{name}:required", f"{name} is empty", value.is_not_null()
    if column.is_money:
        is_read = value.is_null() | typed.is_not_null()  # what is like an amount always fits
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
        # Whatever the rules above let through must also convert: a value never turns into nothing.
        yield f"{name}:type", f"{name} cannot be read as {column.dtype}", value.is_null() | typed.is_not_null()
    if column.minimum is not None:
        yield f"{name}:minimum", f"{name} is below {column.minimum}", typed >= column.minimum
    if column.maximum is not None:
        yield f"{name}:maximum", f"{name} is above {column.maximum}", typed <= column.maximum


def _matches(value: pl.Expr, pattern: str) -> pl.Expr:
    """Whether a text matches; one of a few words, the usual pattern, is looked for without a search."""
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
    """Rows of one key: the same content twice is one row and duplicates; different content is a conflict."""
    key, content = list(layout.key), list(layout.schema)
    # Rows of one key have one hash: where no hash is there twice, as in nearly every file, nothing is.
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
