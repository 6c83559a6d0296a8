"""Whose row a delivered row is, which of its values identify a person, and the row without them.

All of it follows from the contract: a column that becomes `borrower_id` or `payer_id` is a person's number, and columns
of the classes identifier and personal identify.
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
_GONE = "erased"
# What is packed cannot be searched where it cannot be read: Parquet, gzip, zip, zstd.
_PACKED = (PARQUET, b"\x1f\x8b", b"PK\x03\x04", b"\x28\xb5\x2f\xfd")
_ENCODINGS = ("utf-8", "latin-1", "utf-16-le", "utf-16-be")


@dataclass(frozen=True)
class PersonColumn:
    """A column that holds persons' numbers.

    `domain`: of their pseudonyms. `identifying`: it, and what is theirs. `is_borrower`: or who pays for one.
    """

    column: str
    domain: str
    identifying: tuple[str, ...]
    is_borrower: bool


def persons_of(layout: Table, source: Source) -> tuple[PersonColumn, ...]:
    """The columns of a layout that hold persons' numbers; none where the contract names none.

    Beside a borrower's number, everything that identifies is the borrower's, but the number of a payer.
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
    """The person's number as the canonical table has it, from text; as delivered where it cannot be read."""
    delivered = pl.col(person.column)
    return pl.coalesce(delivered.cast(layout.schema[person.column], strict=False).cast(pl.String), delivered)


@dataclass(frozen=True)
class Sought:
    """The persons whose rows are sought: by pseudonym, and where it is known by the words that identify them."""

    pseudonyms: frozenset[str]
    words: frozenset[str] = frozenset()

    @cached_property
    def pattern(self) -> re.Pattern[str] | None:
        """Finds one of the words, as a word of its own and in upper or lower case."""
        found = "|".join(re.escape(word) for word in sorted(self.words))
        return re.compile(rf"(?<!\w)(?:{found})(?!\w)", re.IGNORECASE) if found else None


class UnreadableError(RuntimeError):
    """A file that holds something of a person, or cannot be searched, and cannot be written without it."""


def hide(content: bytes, layout: Table | None, source: Source, keys: Keys, sought: Sought) -> tuple[bytes, int] | None:
    """A delivered file without what identifies the persons who are sought, and how many records lost something.

    The other fields of their records stay, and so does every line number; a record that breaks a rule or is ragged
    loses everything, because what stands where in it is not known. None where nothing of them is found.

    Args:
        content: the file.
        layout: its layout, if it has one.
        source: the source.
        keys: make the pseudonyms.
        sought: whose records.

    Raises:
        UnreadableError: the file was refused, is no text, and holds something of theirs or may do so.
    """
    if not _may_tell(content, sought):
        return None
    try:
        if layout is None:
            raise DeliveryRefusedError("unknown_file", "no layout", 0)
        records = read_records(content, layout)
    except DeliveryRefusedError:
        return _hide_lines(content, source, keys, sought)
    columns = _columns_to_blank(records, layout, source, keys, sought)
    whole = _records_to_blank(records, layout, source, keys, sought) - columns.keys()
    if not columns and not whole:
        return None
    rewrite = _without_in_parquet if content.startswith(PARQUET) else _without_in_csv
    return rewrite(content, records, layout, columns, whole), len(columns) + len(whole)


def _may_tell(content: bytes, sought: Sought) -> bool:
    """Whether a file is worth reading: a quick look, which only text and words of ASCII allow."""
    if not sought.words or not all(word.isascii() for word in sought.words):
        return True
    if content.startswith(_PACKED) or b"\x00" in content:
        return True
    small = content.lower()
    return any(word.lower().encode() in small for word in sought.words)


def mentions(texts: Sequence[str], source: Source, keys: Keys, sought: Sought, *, by_word: bool = True) -> list[bool]:
    """Which of these texts name a person who is sought: a field is the person's number, or a word identifies them."""
    pattern = sought.pattern if by_word else None
    return [
        bool(theirs) or bool(pattern and pattern.search(text))
        for text, theirs in zip(texts, numbers_in(texts, source, keys, sought), strict=True)
    ]


def numbers_in(texts: Sequence[str], source: Source, keys: Keys, sought: Sought) -> list[set[str]]:
    """The fields of each text that are the number of a person who is sought, whatever its layout."""
    fields = [_fields(text) for text in texts]
    distinct = pl.Series(list({f for found in fields for f in found}), dtype=pl.String)
    theirs: set[str] = set()
    for domain in domains(source):
        pseudonyms = keys.pseudonyms(distinct, domain)
        theirs.update(pseudonyms.filter(pl.col("pseudonym").is_in(list(sought.pseudonyms)))["value"])
    return [theirs & found for found in fields]


def domains(source: Source) -> list[str]:
    """The domains of the pseudonyms of a source's persons, those too that its contract does not tell of any more."""
    return [f"{source.name}.{name}" for name in sorted(PERSON_IDS)]


def _fields(text: str) -> set[str]:
    return {field.strip(' "\r') for line in text.split("\n") for field in line.split(",")}


def _columns_to_blank(
    records: Records, layout: Table, source: Source, keys: Keys, sought: Sought
) -> dict[int, set[str]]:
    """The columns that identify, by the line number of each record whose number is a sought person's."""
    found: dict[int, set[str]] = {}
    persons = persons_of(layout, source)
    # An identifier that the contract takes into no table may be a person's number, as it was under one of before.
    unmapped = {c.name for c in layout.columns if c.classification == "identifier"} - {p.column for p in persons}
    others = (PersonColumn(c, domain, (c,), is_borrower=False) for c in sorted(unmapped) for domain in domains(source))
    for person in (*persons, *others):
        numbers = records.text.select(LINE_NO, number(person, layout).alias("value"))
        theirs = keys.pseudonyms(numbers["value"], person.domain).filter(
            pl.col("pseudonym").is_in(list(sought.pseudonyms))
        )
        for line in numbers.join(theirs, on="value", how="semi")[LINE_NO]:
            found.setdefault(line, set()).update(person.identifying)
    return found


def _records_to_blank(records: Records, layout: Table, source: Source, keys: Keys, sought: Sought) -> set[int]:
    """Line numbers of the records that break a rule and mention a sought person."""
    bad = check_rows(read_as(records.text, layout), layout).bad
    if bad.is_empty() and records.ragged.is_empty():
        return set()
    # A record with another person's number is theirs, even if both have one name.
    named = [pl.col(p.column).is_not_null() for p in persons_of(layout, source)]
    is_others = pl.any_horizontal(named) if named else pl.lit(value=False)
    even = records.text.join(bad, on=LINE_NO, how="semi").select(LINE_NO, LINES, is_others.alias("others"))
    ragged = records.ragged.with_columns(others=pl.lit(value=False))
    lines: set[int] = set()
    for (others,), rows in pl.concat([even, ragged]).group_by("others"):
        texts = [records.raw_record(line, count) for line, count in rows.select(LINE_NO, LINES).iter_rows()]
        found = mentions(texts, source, keys, sought, by_word=not others)
        lines.update(line for line, is_theirs in zip(rows[LINE_NO], found, strict=True) if is_theirs)
    return lines


def _without_in_csv(
    _content: bytes, records: Records, layout: Table, columns: Mapping[int, set[str]], whole: set[int]
) -> bytes:
    raw, names = records.raw_lines().copy(), list(layout.schema)
    places = pl.concat([records.text.select(LINE_NO, LINES), records.ragged])
    for line, count in places.filter(pl.col(LINE_NO).is_in([*columns, *whole])).iter_rows():
        record = records.raw_record(line, count)
        if line in whole:
            new = [_GONE] * count
        else:
            new = _blanked(record, {names.index(c) for c in columns[line]}).split("\n")
        raw[line - 1 : line - 1 + count] = new
    return ("\n".join(raw) + "\n").encode()


def _blanked(record: str, places: set[int]) -> str:
    """A CSV record with nothing in these fields, on as many lines as before; split as `read_records` does."""
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
    lines = {c: [n for n, gone in columns.items() if c in gone] + list(whole) for c in layout.schema}
    out = io.BytesIO()
    frame.with_columns(pl.when(~line.is_in(n)).then(pl.col(c)).alias(c) for c, n in lines.items() if n).write_parquet(
        out
    )
    return out.getvalue()


def _hide_lines(content: bytes, source: Source, keys: Keys, sought: Sought) -> tuple[bytes, int] | None:
    """A file that its layout does not read: its lines that mention a sought person are taken out, as far as it has any.

    It was refused; or taken in, under a contract of before.
    """
    if content.startswith(PARQUET):
        with contextlib.suppress(pl.exceptions.ComputeError):
            return _hide_rows(pl.read_parquet(content), raw_lines(content)[1:], source, keys, sought)
    try:
        if b"\x00" in content or content.startswith(_PACKED):
            raise ValueError
        lines = content.decode("utf-8").split("\n")
    except ValueError:
        if _may_hold(content, sought):
            raise UnreadableError("a refused file that is no text holds something of the person, or may") from None
        return None
    found = mentions(lines, source, keys, sought)
    if not any(found):
        return None
    kept = [_GONE if is_theirs else line for line, is_theirs in zip(lines, found, strict=True)]
    return "\n".join(kept).encode(), sum(found)


def _hide_rows(
    frame: pl.DataFrame, rows: list[str], source: Source, keys: Keys, sought: Sought
) -> tuple[bytes, int] | None:
    found = mentions(rows, source, keys, sought)
    if not any(found):
        return None
    out = io.BytesIO()
    frame.select(pl.when(~pl.Series(found)).then(pl.col(name)).alias(name) for name in frame.columns).write_parquet(out)
    return out.getvalue(), sum(found)


def _may_hold(content: bytes, sought: Sought) -> bool:
    if content.startswith(_PACKED):
        return True
    return any(word.encode(code, "ignore") in content for word in sought.words for code in _ENCODINGS)
