"""Joint ingestion of many small files with the same layout.

The fixed cost of ingesting a small file is higher than the cost of its rows. A group of small files is therefore
parsed, checked and written as one file, with the same functions that ingest a single file. Each delivery keeps its own
receipt, hash, key and encrypted original. Only the lake files are shared: every receipt of the group names them. The
columns `delivery_id` and `line_no` of a row identify the delivery and the line from which the row comes.

Files are ingested together only if every line of every file is valid and new. Otherwise `take_in_group` splits the
group in two halves and tries again. A file that ends up alone is ingested by `delivery.take_in`.
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
    """Return whether a file may be ingested together with other files of its layout.

    This is false if the file is larger than `MAX_BYTES` or has no layout. It is also false if the source has its own
    adapter module, because an adapter may compare the rows of a file with each other.
    """
    return layout is not None and source.is_mapped and len(file.content) <= MAX_BYTES


def take_in_group(
    files: Sequence[Delivered], source: Source, context: IngestContext, known_rows: KnownRows, now: datetime
) -> list[TakenIn]:
    """Ingest files of the same layout, and return one result per file, in the same order.

    The rows are assumed to be new; they are not compared with the rows in the lake. If several deliveries share a lake
    file, the result of the first of them contains all its keys.

    Raises:
        ContractError: the tables that the adapter built differ from the contract.
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
    """The positions of the lines of a group of files in the joined file.

    `landed` is the number of data lines of each file. `first` is the line number of each file's first data line in the
    joined file.
    """

    landed: list[int]
    first: np.ndarray

    def file_of(self, line_no: pl.Series) -> np.ndarray:
        """Return, for each line number of the joined file, the index of the file from which this line comes."""
        return np.searchsorted(self.first, line_no.to_numpy(), side="right") - 1


def _take_in_together(
    files: Sequence[Delivered], source: Source, context: IngestContext, known_rows: KnownRows, now: datetime
) -> list[TakenIn] | None:
    """Ingest a group of files as one file, and return one result per file.

    Returns None, without writing anything to the lake, if the files cannot be ingested together. This is the case if a
    line is invalid or repeated, if a file differs from its manifest, or if a file is not in the plain format.
    """
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
    if cross_check(tables, source, known_rows, now.date()).height:
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
    """Join the data lines of several files under one header.

    Returns the joined content and the positions of the lines. The content is empty if a file does not start with the
    header of the layout, has no data lines, or does not end with a line break.
    """
    head = header_of(layout)
    bodies = [file.content[len(head) :] for file in files]
    landed = [body.count(b"\n") for body in bodies]
    first = np.cumsum([2, *landed[:-1]])
    are_plain = all(
        file.content.startswith(head) and body.endswith(b"\n") for file, body in zip(files, bodies, strict=True)
    )
    return b"".join([head, *bodies]) if are_plain else b"", _Lines(landed, first)


def _match_their_manifests(files: Sequence[Delivered], lines: _Lines, landed_minor: list[int]) -> bool:
    """Return whether all files match their manifests."""
    for file, landed, minor in zip(files, lines.landed, landed_minor, strict=True):
        try:
            file.manifest.check(file.sha256, landed, Decimal(minor) / MINOR_PER_UNIT)
        except DeliveryRefusedError:
            return False
    return True


def _minor_of_each_file(amounts: pl.DataFrame, lines: _Lines) -> list[int]:
    """Return the sum of the control amounts of each file, in minor units (cents)."""
    minor = amounts.select(minor_units("amount")).to_series().to_numpy()
    sums = np.zeros(len(lines.landed), dtype=np.int64)
    np.add.at(sums, lines.file_of(amounts[LINE_NO]), minor)
    return [int(value) for value in sums]


def _with_own_lines(tables: Tables, lines: _Lines, names: pl.Series) -> Tables:
    """Return the tables with the line numbers of the original files instead of those of the joined file.

    The column `delivery_id` is set to the ID of the delivery from which each row comes. `names` contains the IDs of the
    deliveries, in the order of the files.
    """
    own = {}
    for name, rows in tables.items():
        index = lines.file_of(rows[LINE_NO])
        line_no = rows[LINE_NO].to_numpy() - lines.first[index] + 2
        own[name] = rows.with_columns(names.gather(index), pl.Series(LINE_NO, line_no, dtype=pl.Int64))
    return own


def _write(tables: Tables, receipts: Sequence[Receipt], source: Source, lake: Path) -> list[LakeFile]:
    """Write one shared lake file per table.

    The file name contains a hash of the hashes of all deliveries, so that different groups have different file names.
    """
    name = hashlib.sha256("".join(receipt.sha256 for receipt in receipts).encode()).hexdigest()[:16]
    return [write_raw(table, source.name, f"group-{name}.parquet", rows, lake) for table, rows in tables.items()]


@dataclass(frozen=True)
class _Counts:
    """What the written files contain of each delivery, with one list element per delivery.

    `lines` is the number of distinct lines. `minor` is the control amount in minor units (cents). `rows` is the number
    of rows, by table.
    """

    lines: list[int]
    minor: list[int]
    rows: dict[str, list[int]]


def _read_back(shared: Sequence[LakeFile], names: pl.Series, contract: Contract, lake: Path) -> _Counts:
    """Read the written lake files, and count what they contain of each delivery.

    `names` contains the IDs of the deliveries. The counts have the same order.
    """
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
