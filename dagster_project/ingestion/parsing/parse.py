"""A delivered file as parsed records: their text, their typed columns, and the control amount of each."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import polars as pl

from dagster_project.ingestion.contracts.contract import Contract, Table
from dagster_project.ingestion.parsing.manifest import Manifest
from dagster_project.ingestion.parsing.records import LINE_NO, LINES, DeliveryRefusedError, Records, read_records
from dagster_project.ingestion.parsing.row_rules import Typed, money_within_bounds, read_as

AMOUNT = pl.Decimal(38, 2)


class Delivered(NamedTuple):
    """A delivered file: its name, its unpacked content, the sha256 of that content, and what its manifest declares."""

    name: str
    content: bytes
    sha256: str
    manifest: Manifest


@dataclass(frozen=True)
class Parsed:
    """A parsed file. `typed`: see `read_as`. `amounts`: line_no and control amount of each record."""

    layout: Table
    records: Records
    typed: Typed
    amounts: pl.DataFrame

    def only(self, lines: pl.DataFrame) -> "Parsed":
        """The records of these lines alone."""
        records = replace(
            self.records,
            text=self.records.text.join(lines, on=LINE_NO, how="semi"),
            ragged=self.records.ragged.join(lines, on=LINE_NO, how="semi"),
        )
        amounts = self.amounts.join(lines, on=LINE_NO, how="semi")
        return Parsed(self.layout, records, read_as(records.text, self.layout), amounts)


def parse(file: Delivered, contract: Contract) -> Parsed:
    """Parse a file by the layout that the contract has for its name.

    Raises:
        DeliveryRefusedError: no layout is for this name, or see `read_records` and `Manifest.check`.
    """
    parsed = parse_unchecked(file, contract)
    file.manifest.check(file.sha256, parsed.records.landed, parsed.amounts["amount"].sum())
    return parsed


def parse_unchecked(file: Delivered, contract: Contract) -> Parsed:
    """The same without a look at the manifest: for a file that is counted and not taken in."""
    layout = contract.layout_of(file.name)
    if layout is None:
        patterns = ", ".join(one.file_pattern for one in contract.layouts)
        lines = max(file.content.count(b"\n") - 1, 0)
        raise DeliveryRefusedError("unknown_file", f"no layout is for this name; there are {patterns}", lines)
    records = read_records(file.content, layout)
    typed = read_as(records.text, layout)
    return Parsed(layout, records, typed, control_amounts(typed, layout))


def control_amounts(typed: Typed, layout: Table) -> pl.DataFrame:
    """The control amount of each record, whether it is accepted or not: line_no and amount.

    A value that is no amount, or outside the column's own bounds, counts as 0 whatever the outcome of its line.
    """
    columns = [c for c in layout.columns if c.name in layout.control]
    parts = [money_within_bounds(c).fill_null(0).cast(AMOUNT) for c in columns]
    parts = parts or [pl.lit(0, dtype=AMOUNT)]  # a layout need not have an amount
    return typed.rows.select(LINE_NO, pl.sum_horizontal(parts).alias("amount"))


def line_spans(records: Records) -> pl.DataFrame:
    """line_no of every record, and how many raw lines it spans."""
    even = records.text.select(LINE_NO, LINES)
    return pl.concat([even, records.ragged]) if records.ragged.height else even
