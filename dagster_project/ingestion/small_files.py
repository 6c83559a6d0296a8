"""Ingests many small files of one layout together, because each file by itself costs more than its rows.

The files are parsed, checked and written as one file, with the functions that ingest a single file. Each delivery keeps
its own receipt, hash, key and encrypted original. Only the lake file is shared: every receipt of the group names it.
The columns `delivery_id` and `line_no` of a row give the delivery and the line that it came from.

This is done only if there is nothing to decide: every line of every file is good and new. Otherwise `take_in_group`
halves the group until a file that needs a decision is alone, and `delivery.take_in` ingests it.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl

from dagster_project.ingestion.classify import Tables, cross_check, first_row_of_each_person, make_canonical
from dagster_project.ingestion.contracts.contract import Contract, Table
from dagster_project.ingestion.contracts.source import Source
from dagster_project.ingestion.delivery import MINOR_PER_UNIT, TakenIn, blank_receipt, minor_units, take_in, write_raw
from dagster_project.ingestion.lake.context import IngestContext
from dagster_project.ingestion.lake.receipts import LakeFile, Receipt, State
from dagster_project.ingestion.lake.row_index import KnownRows, keys_of
from dagster_project.ingestion.parsing.parse import Delivered, control_amounts
from dagster_project.ingestion.parsing.records import LINE_NO, DeliveryRefusedError, header_of, read_plain
from dagster_project.ingestion.parsing.row_rules import check_rows, read_as
from dagster_project.ingestion.persons.vault import personal_values_of

# Limits of a group. The larger limits of one file per layout would keep the second core idle.
MAX_FILES, MAX_BYTES = 512, 16_000_000
DELIVERY_ID = "delivery_id"


def is_small(file: Delivered, layout: Table | None, source: Source) -> bool:
    """Whether a file may be ingested together with others of its layout.

    An adapter module may compare the rows of a file with each other, so its files are ingested one by one.
    """
    return layout is not None and source.is_mapped and len(file.content) <= MAX_BYTES


def take_in_group(
    files: Sequence[Delivered], source: Source, context: IngestContext, known_rows: KnownRows, now: datetime
) -> list[TakenIn]:
    """Ingest files of one layout, whose rows are assumed to be new. Returns one result per file, in order.

    The keys of a shared lake file are in the result of the first of its deliveries.

    Raises:
        ContractError: the adapter's tables differ from the contract.
    """
    if len(files) == 1:
        return [take_in(files[0], source, context, known_rows, now, compare=False)]
    together = _take_in_together(files, source, context, known_rows, now)
    if together is not None:
        return together
    middle = len(files) // 2
    halves = (files[:middle], files[middle:])
    return [taken for half in halves for taken in take_in_group(half, source, context, known_rows, now)]


@dataclass(frozen=True)
class _Lines:
    """The lines of a group of files that were joined to one file.

    `landed`: number of data lines of each file. `first`: line number in the joined file of each file's first data line.
    """

    landed: list[int]
    first: np.ndarray

    def file_of(self, line_no: pl.Series) -> np.ndarray:
        """The index of the file from which each line of the joined file comes."""
        return np.searchsorted(self.first, line_no.to_numpy(), side="right") - 1


def _take_in_together(
    files: Sequence[Delivered], source: Source, context: IngestContext, known_rows: KnownRows, now: datetime
) -> list[TakenIn] | None:
    """Ingest the files as one file. Return None if a line is bad or repeated, or if a file is not in plain format."""
    layout = source.contract.layout_of(files[0].name)
    if layout is None:
        return None
    content, lines = _joined(files, layout)
    records = read_plain(content, layout) if content else None
    if records is None or records.landed != sum(lines.landed):
        return None
    typed = read_as(records.text, layout)
    amounts = control_amounts(typed, layout)
    landed_minor = _minor_of_each_file(amounts, lines)
    if not _match_their_manifests(files, lines, landed_minor):
        return None
    checked = check_rows(typed, layout)
    if checked.bad.height or checked.duplicates.height:
        return None
    receipts = [blank_receipt(file, source, now) for file in files]
    tables = make_canonical(layout, checked.good, source, context.keys, receipts[0])
    if cross_check(tables, source, known_rows).height:
        return None
    names = pl.Series(DELIVERY_ID, [receipt.delivery_id for receipt in receipts])
    tables = first_row_of_each_person(_with_own_lines(tables, lines, names), source.contract, DELIVERY_ID)
    shared = _write(tables, receipts, source, context.lake)
    keys = keys_of(tables, source.contract)
    counts = _read_back(shared, names, source.contract, context.lake)
    taken = []
    for index, blank in enumerate(receipts):
        landed = lines.landed[index]
        receipt = replace(
            blank,
            state=State.ACCEPTED,
            landed_rows=landed,
            accepted_rows=counts.lines[index],
            landed_minor=landed_minor[index],
            accepted_minor=counts.minor[index],
            files=tuple(replace(written, rows=counts.rows[written.table][index]) for written in shared),
        )
        text = records.text.slice(int(lines.first[index]) - 2, landed)
        values = personal_values_of(text, text.select(LINE_NO), layout, source, f"{blank.delivery_id}.parquet")
        taken.append(TakenIn(receipt, keys if index == 0 else {}, values))
    return taken


def _joined(files: Sequence[Delivered], layout: Table) -> tuple[bytes, _Lines]:
    """Join the files' lines under one header. The content is empty if a file has another header, or no data lines."""
    head = header_of(layout)
    bodies = [file.content[len(head) :] for file in files]
    landed = [body.count(b"\n") for body in bodies]
    first = np.cumsum([2, *landed[:-1]])
    are_plain = all(
        file.content.startswith(head) and body.endswith(b"\n") for file, body in zip(files, bodies, strict=True)
    )
    return b"".join([head, *bodies]) if are_plain else b"", _Lines(landed, first)


def _match_their_manifests(files: Sequence[Delivered], lines: _Lines, landed_minor: list[int]) -> bool:
    """Whether no file is refused because it differs from its manifest."""
    for file, landed, minor in zip(files, lines.landed, landed_minor, strict=True):
        try:
            file.manifest.check(file.sha256, landed, Decimal(minor) / MINOR_PER_UNIT)
        except DeliveryRefusedError:
            return False
    return True


def _minor_of_each_file(amounts: pl.DataFrame, lines: _Lines) -> list[int]:
    """The control amount of each file in minor units."""
    minor = amounts.select(minor_units("amount")).to_series().to_numpy()
    sums = np.zeros(len(lines.landed), dtype=np.int64)
    np.add.at(sums, lines.file_of(amounts[LINE_NO]), minor)
    return [int(value) for value in sums]


def _with_own_lines(tables: Tables, lines: _Lines, names: pl.Series) -> Tables:
    """Replace the line numbers of the joined file by those of each delivery, and set the delivery's ID."""
    own = {}
    for name, rows in tables.items():
        index = lines.file_of(rows[LINE_NO])
        line_no = rows[LINE_NO].to_numpy() - lines.first[index] + 2
        own[name] = rows.with_columns(names.gather(index), pl.Series(LINE_NO, line_no, dtype=pl.Int64))
    return own


def _write(tables: Tables, receipts: Sequence[Receipt], source: Source, lake: Path) -> list[LakeFile]:
    """Write one file per table. Its name is a hash of the deliveries' hashes, so that no other group has the same."""
    name = hashlib.sha256("".join(receipt.sha256 for receipt in receipts).encode()).hexdigest()[:16]
    return [write_raw(table, source.name, f"group-{name}.parquet", rows, lake) for table, rows in tables.items()]


@dataclass(frozen=True)
class _Counts:
    """What was written of each delivery: distinct lines, control amount in minor units, and rows by table."""

    lines: list[int]
    minor: list[int]
    rows: dict[str, list[int]]


def _read_back(shared: Sequence[LakeFile], names: pl.Series, contract: Contract, lake: Path) -> _Counts:
    """Count what the written files contain of each delivery."""
    control = contract.control_table
    deliveries = names.to_frame()
    parts, rows = [], {}
    minor = [0] * len(names)
    for file in shared:
        amount = control.control[:1] if file.table == control.name else ()
        found = pl.read_parquet(lake / file.path, columns=[DELIVERY_ID, LINE_NO, *amount])
        parts.append(found.select(DELIVERY_ID, LINE_NO))
        counted = found.group_by(DELIVERY_ID).agg(
            pl.len().alias("rows"), *(minor_units(name).sum().alias("minor") for name in amount)
        )
        of_each = deliveries.join(counted, on=DELIVERY_ID, how="left", maintain_order="left").fill_null(0)
        rows[file.table] = of_each["rows"].to_list()
        if amount:
            minor = of_each["minor"].to_list()
    distinct = pl.concat(parts).unique().group_by(DELIVERY_ID).len()
    lines = deliveries.join(distinct, on=DELIVERY_ID, how="left", maintain_order="left")["len"].fill_null(0).to_list()
    return _Counts(lines, minor, rows)
