"""Functions that parse a delivered file into typed records and compute the control amount of each record."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import polars as pl

from dagster_project.ingestion.contracts.contract import Contract, Table
from dagster_project.ingestion.parsing.manifest import Manifest
from dagster_project.ingestion.parsing.records import LINE_NO, LINES, DeliveryRefusedError, Records, read_records
from dagster_project.ingestion.parsing.row_rules import Typed, money_within_bounds, read_as

AMOUNT = pl.Decimal(38, 2)


class Delivered(NamedTuple):
    """A delivered file that has been unpacked, but not parsed yet.

    `sha256` is the hash of the unpacked content. If the file was delivered without a manifest, all fields of `manifest`
    are None.
    """

    name: str
    content: bytes
    sha256: str
    manifest: Manifest


@dataclass(frozen=True)
class Parsed:
    """A parsed file.

    Attributes:
        layout: the layout in the contract with which the file was parsed.
        records: the records as text.
        typed: the same records with typed columns.
        amounts: a frame with the `line_no` and the control amount (`amount`) of each record.
    """

    layout: Table
    records: Records
    typed: Typed
    amounts: pl.DataFrame

    def only(self, lines: pl.DataFrame) -> "Parsed":
        """Return a copy that contains only some of the records.

        `lines` is a frame with the `line_no` of each record to keep.
        """
        records = replace(
            self.records,
            text=self.records.text.join(lines, on=LINE_NO, how="semi"),
            ragged=self.records.ragged.join(lines, on=LINE_NO, how="semi"),
        )
        amounts = self.amounts.join(lines, on=LINE_NO, how="semi")
        return Parsed(self.layout, records, read_as(records.text, self.layout), amounts)


def parse(file: Delivered, contract: Contract) -> Parsed:
    """Parse a file with the contract's layout for its name, and check it against its manifest.

    Raises:
        DeliveryRefusedError: if the contract has no layout for the file's name, if the file cannot be read (see
            `read_records`), or if it does not match its manifest (see `Manifest.check`).
    """
    parsed = parse_unchecked(file, contract)
    file.manifest.check(file.sha256, parsed.records.landed, parsed.amounts["amount"].sum())
    return parsed


def parse_unchecked(file: Delivered, contract: Contract) -> Parsed:
    """Parse a file without checking it against its manifest.

    This is used to count the lines and amounts of a file that will not be ingested.

    Raises:
        DeliveryRefusedError: if the contract has no layout for the file's name, or if the file cannot be read (see
            `read_records`).
    """
    layout = contract.layout_of(file.name)
    if layout is None:
        patterns = ", ".join(one.file_pattern for one in contract.layouts)
        lines = max(file.content.count(b"\n") - 1, 0)
        raise DeliveryRefusedError("unknown_file", f"no layout is for this name; there are {patterns}", lines)
    records = read_records(file.content, layout)
    typed = read_as(records.text, layout)
    return Parsed(layout, records, typed, control_amounts(typed, layout))


def control_amounts(typed: Typed, layout: Table) -> pl.DataFrame:
    """Return a frame with the `line_no` and the control amount (`amount`) of every record.

    Records that break a rule are included. A record's control amount is the sum of its values in the layout's control
    columns, or 0 if the layout has no control columns. A value that is not an amount, or that is outside the bounds of
    its column, counts as 0.
    """
    columns = [c for c in layout.columns if c.name in layout.control]
    parts = [money_within_bounds(c).fill_null(0).cast(AMOUNT) for c in columns]
    parts = parts or [pl.lit(0, dtype=AMOUNT)]  # a layout may have no control columns
    return typed.rows.select(LINE_NO, pl.sum_horizontal(parts).alias("amount"))


def line_spans(records: Records) -> pl.DataFrame:
    """Return a frame with the `line_no` of every record and the number of raw lines that it spans (`lines`).

    Records with the wrong number of fields are included.
    """
    even = records.text.select(LINE_NO, LINES)
    return pl.concat([even, records.ragged]) if records.ragged.height else even
