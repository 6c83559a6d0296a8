"""From the bytes of a delivered CSV file to its records as text, one row a record, none lost.

Nothing is inferred and nothing is repaired. A file that cannot be read as what the contract says is refused whole,
with a rule and a message that hold no value of it; a record with the wrong number of fields is kept apart.
"""

import csv
import io
from dataclasses import dataclass

import polars as pl

from dagster_project.ingestion.contracts import Table

LINE_NO = "line_no"


class DeliveryRefusedError(Exception):
    """The whole file is quarantined. `rule` names what it breaks, `lines` how many data lines it seems to have."""

    def __init__(self, rule: str, message: str, lines: int) -> None:
        super().__init__(message)
        self.rule, self.message, self.lines = rule, message, lines


@dataclass(frozen=True)
class Records:
    """`text`: line_no and every column as text (empty: null). `ragged`: line_no and raw of misshapen records."""

    text: pl.DataFrame
    ragged: pl.DataFrame

    @property
    def landed(self) -> int:
        """Number of records in the file."""
        return self.text.height + self.ragged.height


def read_records(content: bytes, layout: Table) -> Records:
    """Read all records of a file.

    Raises:
        DeliveryRefusedError: empty, not UTF-8, with NUL bytes, an unclosed quote, or another header than agreed.
    """
    lines = max(content.count(b"\n") - (1 if content.endswith(b"\n") else 0), 0)
    if not content.strip():
        raise DeliveryRefusedError("empty_file", "the file holds no line", 0)
    if b"\x00" in content:
        raise DeliveryRefusedError("nul_byte", "the file holds NUL bytes: UTF-16, binary, or damaged", lines)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"byte {error.start} is not UTF-8: the file is in another encoding, or damaged"
        raise DeliveryRefusedError("encoding", message, lines) from None
    numbers, fields = _split_quoted(text, lines) if '"' in text else _split_plain(text)
    _check_header(fields[0], layout, lines)
    if len(fields) == 1:
        raise DeliveryRefusedError("header_only", "the file holds a header and no record", 0)
    return _as_frames(numbers[1:], fields[1:], list(layout.schema))


def _split_plain(text: str) -> tuple[list[int], list[list[str]]]:
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    return list(range(1, len(lines) + 1)), [line.removesuffix("\r").split(",") for line in lines]


def _split_quoted(text: str, lines: int) -> tuple[list[int], list[list[str]]]:
    """Records of a file with quotes, where one record may span lines; the number is that of its first line."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    numbers, fields, first = [], [], 1
    try:
        for record in reader:
            numbers.append(first)
            fields.append(record)
            first = reader.line_num + 1
    except csv.Error:
        message = f"a quote opened in the record at line {first} is not closed as CSV demands"
        raise DeliveryRefusedError("unclosed_quote", message, lines) from None
    return numbers, fields


def _check_header(found: list[str], layout: Table, lines: int) -> None:
    agreed = list(layout.schema)
    if found == agreed:
        return
    missing = [c for c in agreed if c not in found]
    # Names that are not in the contract are counted, not quoted: a file without a header shows data here.
    unknown = sum(c not in agreed for c in found)
    if not missing and not unknown:
        message = "the header has the agreed columns in another order, or twice"
    else:
        message = f"the header lacks {missing or 'nothing'} and has {unknown} column(s) that are not in the contract"
    raise DeliveryRefusedError("schema_drift", f"{message}; change the contract first, or the file", lines)


def _as_frames(numbers: list[int], fields: list[list[str]], columns: list[str]) -> Records:
    width = len(columns)
    even = [(n, f) for n, f in zip(numbers, fields, strict=True) if len(f) == width]
    odd = [(n, f) for n, f in zip(numbers, fields, strict=True) if len(f) != width]
    by_column = zip(*(f for _, f in even), strict=True) if even else [[] for _ in columns]
    text = pl.DataFrame(
        [
            pl.Series(LINE_NO, [n for n, _ in even], dtype=pl.Int64),
            *(pl.Series(c, values, dtype=pl.String) for c, values in zip(columns, by_column, strict=True)),
        ]
    )
    ragged = pl.DataFrame(
        {LINE_NO: [n for n, _ in odd], "raw": [",".join(f) for _, f in odd]},
        schema={LINE_NO: pl.Int64, "raw": pl.String},
    )
    return Records(text.with_columns(pl.col(columns).replace("", None)), ragged)
