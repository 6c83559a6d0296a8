"""Functions that find persons in delivered rows and remove the values that identify these persons.

The contract defines which columns contain data of persons. A column that becomes `borrower_id` or `payer_id` contains
the numbers of persons. A column with the classification `identifier` or `personal` contains values that identify a
person.
"""

import contextlib
import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from dagster_project.ingestion.contracts.canonical import BORROWER, PERSON_IDS
from dagster_project.ingestion.contracts.contract import Table
from dagster_project.ingestion.contracts.source import Source
from dagster_project.ingestion.parsing.records import (
    LINE_NO,
    LINES,
    PARQUET,
    DeliveryRefusedError,
    Records,
    raw_lines,
    read_records,
)
from dagster_project.ingestion.parsing.row_rules import check_rows, read_as
from dagster_project.keys.master import Keys

IDENTIFYING = ("identifier", "personal")
_ERASED = "erased"
# Formats that cannot be searched as text: Parquet, gzip, zip, zstd.
_PACKED = (PARQUET, b"\x1f\x8b", b"PK\x03\x04", b"\x28\xb5\x2f\xfd")
_ENCODINGS = ("utf-8", "latin-1", "utf-16-le", "utf-16-be")


@dataclass(frozen=True)
class PersonColumn:
    """A column that contains the source's numbers (IDs) of persons.

    Attributes:
        column: the name of the column.
        domain: the namespace in which the numbers are pseudonymised, as `<source>.<canonical column>`.
        identifying: the names of this column and of all other columns that identify the same person.
        is_borrower: True if the persons are borrowers, False if they are payers.
    """

    column: str
    domain: str
    identifying: tuple[str, ...]
    is_borrower: bool


def persons_of(layout: Table, source: Source) -> tuple[PersonColumn, ...]:
    """Return the columns of a layout that contain the numbers of persons.

    If the layout has a column of borrowers' numbers, all other identifying columns belong to the borrower, except for
    columns of payers' numbers. The result is empty if the layout has no numbers of persons.
    """
    numbers = {
        column.origin: column.name
        for table in source.contract.tables
        if table.made_from == layout.name
        for column in table.columns
        if column.name in PERSON_IDS and column.origin
    }
    identifying = [c.name for c in layout.columns if c.classification in IDENTIFYING and c.name not in numbers]
    main = next((column for column, name in numbers.items() if name == BORROWER), None)
    return tuple(
        PersonColumn(
            column,
            f"{source.name}.{name}",
            (column, *(identifying if column == (main or column) else ())),
            is_borrower=name == BORROWER,
        )
        for column, name in numbers.items()
    )


def number(person: PersonColumn, layout: Table) -> pl.Expr:
    """Return an expression for the number of a person in the form in which it is pseudonymised.

    The delivered text is converted to the column's type and back to text, so that `007` and `7` are the same number if
    the type is an integer. If the text cannot be converted, it is used unchanged.
    """
    delivered = pl.col(person.column)
    return pl.coalesce(delivered.cast(layout.schema[person.column], strict=False).cast(pl.String), delivered)


@dataclass(frozen=True)
class PersonSearch:
    """The pseudonyms and words with which persons are searched for in delivered data.

    Attributes:
        pseudonyms: the pseudonyms of the persons.
        words: values that identify the persons, for example their names. It is empty if they are not known.
    """

    pseudonyms: frozenset[str]
    words: frozenset[str] = frozenset()

    @cached_property
    def pattern(self) -> re.Pattern[str] | None:
        """Return a pattern that matches each of the words as a whole word, or None if there are no words.

        The pattern ignores case.
        """
        words = "|".join(re.escape(word) for word in sorted(self.words))
        return re.compile(rf"(?<!\w)(?:{words})(?!\w)", re.IGNORECASE) if words else None


class UnreadableError(RuntimeError):
    """Raised if a file contains or may contain data of a person, and the data cannot be removed from it."""


def hide(
    content: bytes, layout: Table | None, source: Source, keys: Keys, search: PersonSearch
) -> tuple[bytes, int] | None:
    """Remove the values that identify the searched persons from a delivered file.

    Return the new content and the number of changed records, or None if the file contains no data of these persons. All
    other fields and all line numbers stay the same. If a record that mentions a searched person breaks a rule or has
    the wrong number of fields, all its fields are removed, because it is not clear which of them identify the person.

    Args:
        content: the bytes of the file.
        layout: the layout of the file, or None if no layout matches its name.
        source: the source of the file.
        keys: the keys with which pseudonyms are made.
        search: the persons to search for.

    Raises:
        UnreadableError: if the file may contain data of the persons, but it is not text and no layout can read it.
    """
    if not _may_mention(content, search):
        return None
    try:
        if layout is None:
            raise DeliveryRefusedError("unknown_file", "no layout", 0)
        records = read_records(content, layout)
    except DeliveryRefusedError:
        return _hide_lines(content, source, keys, search)
    columns = _columns_to_blank(records, layout, source, keys, search)
    whole = _records_to_blank(records, layout, source, keys, search) - columns.keys()
    if not columns and not whole:
        return None
    rewrite = _without_in_parquet if content.startswith(PARQUET) else _without_in_csv
    return rewrite(content, records, layout, columns, whole), len(columns) + len(whole)


def _may_mention(content: bytes, search: PersonSearch) -> bool:
    """Return False if a quick search for the words of the searched persons shows that a file does not mention them.

    Return True if one of the words is found. Also return True if the quick search could miss a mention: if no words are
    known, if a word is not ASCII, or if the file is not plain text.
    """
    if not search.words or not all(word.isascii() for word in search.words):
        return True
    if content.startswith(_PACKED) or b"\x00" in content:
        return True
    lower = content.lower()
    return any(word.lower().encode() in lower for word in search.words)


def mentions(
    texts: Sequence[str], source: Source, keys: Keys, search: PersonSearch, *, by_word: bool = True
) -> list[bool]:
    """Return for each text whether it mentions a searched person.

    A text mentions a person if one of its comma-separated fields is the person's number. If `by_word` is True, it is
    also enough that the text contains a word that identifies the person.
    """
    pattern = search.pattern if by_word else None
    return [
        bool(theirs) or bool(pattern and pattern.search(text))
        for text, theirs in zip(texts, numbers_in(texts, source, keys, search), strict=True)
    ]


def numbers_in(texts: Sequence[str], source: Source, keys: Keys, search: PersonSearch) -> list[set[str]]:
    """Return for each text the set of its comma-separated fields that are the number of a searched person.

    No layout is needed. Every field is pseudonymised and compared with the pseudonyms of the searched persons.
    """
    fields = [_fields(text) for text in texts]
    distinct = pl.Series(list({value for values in fields for value in values}), dtype=pl.String)
    theirs: set[str] = set()
    for domain in domains(source):
        pseudonyms = keys.pseudonyms(distinct, domain)
        theirs.update(pseudonyms.filter(pl.col("pseudonym").is_in(list(search.pseudonyms)))["value"])
    return [theirs & values for values in fields]


def domains(source: Source) -> list[str]:
    """Return all namespaces in which the persons of a source may have pseudonyms.

    This includes namespaces that the contract no longer uses, because an earlier version of it may have used them.
    """
    return [f"{source.name}.{name}" for name in sorted(PERSON_IDS)]


def _fields(text: str) -> set[str]:
    return {field.strip(' "\r') for line in text.split("\n") for field in line.split(",")}


def _columns_to_blank(
    records: Records, layout: Table, source: Source, keys: Keys, search: PersonSearch
) -> dict[int, set[str]]:
    """Return the columns to empty in each record that contains the number of a searched person.

    The result maps the line number of each such record to the names of the columns that identify the person.
    """
    blank: dict[int, set[str]] = {}
    persons = persons_of(layout, source)
    # An identifier without a canonical column may have been a person's number in an earlier contract.
    unmapped = {c.name for c in layout.columns if c.classification == "identifier"} - {p.column for p in persons}
    others = (PersonColumn(c, domain, (c,), is_borrower=False) for c in sorted(unmapped) for domain in domains(source))
    for person in (*persons, *others):
        numbers = records.text.select(LINE_NO, number(person, layout).alias("value"))
        theirs = keys.pseudonyms(numbers["value"], person.domain).filter(
            pl.col("pseudonym").is_in(list(search.pseudonyms))
        )
        for line in numbers.join(theirs, on="value", how="semi")[LINE_NO]:
            blank.setdefault(line, set()).update(person.identifying)
    return blank


def _records_to_blank(records: Records, layout: Table, source: Source, keys: Keys, search: PersonSearch) -> set[int]:
    """Return the line numbers of the records in which all fields must be removed.

    These are the records that mention a searched person and that also break a rule or have the wrong number of fields.
    """
    bad = check_rows(read_as(records.text, layout), layout).bad
    if bad.is_empty() and records.ragged.is_empty():
        return set()
    # A record with another person's number belongs to that other person, even if both persons have the same name.
    has_number = [pl.col(p.column).is_not_null() for p in persons_of(layout, source)]
    is_others = pl.any_horizontal(has_number) if has_number else pl.lit(value=False)
    even = records.text.join(bad, on=LINE_NO, how="semi").select(LINE_NO, LINES, is_others.alias("others"))
    ragged = records.ragged.with_columns(others=pl.lit(value=False))
    lines: set[int] = set()
    for (others,), rows in pl.concat([even, ragged]).group_by("others"):
        texts = [records.raw_record(line, count) for line, count in rows.select(LINE_NO, LINES).iter_rows()]
        flags = mentions(texts, source, keys, search, by_word=not others)
        lines.update(line for line, is_theirs in zip(rows[LINE_NO], flags, strict=True) if is_theirs)
    return lines


def _without_in_csv(
    _content: bytes, records: Records, layout: Table, columns: Mapping[int, set[str]], whole: set[int]
) -> bytes:
    raw, names = records.raw_lines().copy(), list(layout.schema)
    places = pl.concat([records.text.select(LINE_NO, LINES), records.ragged])
    for line, count in places.filter(pl.col(LINE_NO).is_in([*columns, *whole])).iter_rows():
        record = records.raw_record(line, count)
        if line in whole:
            new = [_ERASED] * count
        else:
            new = _blanked(record, {names.index(c) for c in columns[line]}).split("\n")
        raw[line - 1 : line - 1 + count] = new
    return ("\n".join(raw) + "\n").encode()


def _blanked(record: str, places: set[int]) -> str:
    """Return a CSV record in which the fields at the positions in `places` are empty. Positions start at 0.

    Line breaks in these fields are kept, so that the record spans the same number of lines as before. The record is
    split into fields in the same way as in `read_records`.
    """
    end = "\r" if record.endswith("\r") else ""
    record = record.removesuffix("\r")
    if '"' not in record:
        return ",".join("" if i in places else field for i, field in enumerate(record.split(","))) + end
    fields = next(csv.reader(io.StringIO(record, newline=""), strict=True))
    out = io.StringIO(newline="")
    kept = ["\n" * field.count("\n") if i in places else field for i, field in enumerate(fields)]
    csv.writer(out, lineterminator="", quoting=csv.QUOTE_ALL).writerow(kept)
    return out.getvalue() + end


def _without_in_parquet(
    content: bytes, _records: Records, layout: Table, columns: Mapping[int, set[str]], whole: set[int]
) -> bytes:
    frame = pl.read_parquet(content)
    line = pl.int_range(2, pl.len() + 2)
    lines = {c: [n for n, blank in columns.items() if c in blank] + list(whole) for c in layout.schema}
    out = io.BytesIO()
    frame.with_columns(pl.when(~line.is_in(n)).then(pl.col(c)).alias(c) for c, n in lines.items() if n).write_parquet(
        out
    )
    return out.getvalue()


def _hide_lines(content: bytes, source: Source, keys: Keys, search: PersonSearch) -> tuple[bytes, int] | None:
    """Remove the lines that mention a searched person from a file that no layout can read.

    Such a file was refused, or it was accepted under an earlier version of the contract. Each removed line is replaced,
    so that the number of lines does not change. Return the new content and the number of removed lines, or None if no
    line mentions a searched person.

    Raises:
        UnreadableError: if the file is not text and may contain data of a searched person.
    """
    if content.startswith(PARQUET):
        with contextlib.suppress(pl.exceptions.ComputeError):
            return _hide_rows(pl.read_parquet(content), raw_lines(content)[1:], source, keys, search)
    try:
        if b"\x00" in content or content.startswith(_PACKED):
            raise ValueError
        lines = content.decode("utf-8").split("\n")
    except ValueError:
        if _may_hold(content, search):
            raise UnreadableError("a refused file is not text and may contain data of the person") from None
        return None
    flags = mentions(lines, source, keys, search)
    if not any(flags):
        return None
    kept = [_ERASED if is_theirs else line for line, is_theirs in zip(lines, flags, strict=True)]
    return "\n".join(kept).encode(), sum(flags)


def _hide_rows(
    frame: pl.DataFrame, rows: list[str], source: Source, keys: Keys, search: PersonSearch
) -> tuple[bytes, int] | None:
    flags = mentions(rows, source, keys, search)
    if not any(flags):
        return None
    out = io.BytesIO()
    frame.select(pl.when(~pl.Series(flags)).then(pl.col(name)).alias(name) for name in frame.columns).write_parquet(out)
    return out.getvalue(), sum(flags)


def _may_hold(content: bytes, search: PersonSearch) -> bool:
    if content.startswith(_PACKED):
        return True
    return any(word.encode(code, "ignore") in content for word in search.words for code in _ENCODINGS)
