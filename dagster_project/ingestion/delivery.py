"""One delivery: read, sift, write; its receipt says what every line and cent became.

Nothing here counts before the receipt is committed, and that is `deliver`'s.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import polars as pl

from dagster_project.ingestion.classify import ClassifiedRows, classify_rows, lines_of, places
from dagster_project.ingestion.contracts.canonical import SUPERSEDED
from dagster_project.ingestion.contracts.contract import Table
from dagster_project.ingestion.contracts.source import Source
from dagster_project.ingestion.lake.context import IngestContext
from dagster_project.ingestion.lake.files import write_parquet
from dagster_project.ingestion.lake.receipts import LakeFile, Receipt, State
from dagster_project.ingestion.lake.row_index import KeysOf, KnownRows, keys_of
from dagster_project.ingestion.parsing.manifest import Manifest
from dagster_project.ingestion.parsing.records import LINE_NO, LINES, DeliveryRefusedError, Records, read_records
from dagster_project.ingestion.parsing.row_rules import Typed, money_within_bounds, read_as
from dagster_project.ingestion.persons.originals import seal_rows
from dagster_project.ingestion.persons.vault import PersonalValues, personal_values_of, write_vault

MINOR_PER_UNIT = 100
QUARANTINE = "quarantine"
_TOTAL = pl.Decimal(38, 2)
_COUNTS = tuple(
    f"{what}_{unit}" for what in ("landed", "accepted", "quarantined", "duplicate") for unit in ("rows", "minor")
)


class Delivered(NamedTuple):
    """A file as it was delivered: its name, its unpacked content, that content's sha256, and what its manifest says."""

    name: str
    content: bytes
    sha256: str
    manifest: Manifest


@dataclass(frozen=True)
class Taken:
    """What was taken in: the receipt to commit, the keys of the written rows, and what goes to the vault still."""

    receipt: Receipt
    keys: KeysOf
    personal_values: PersonalValues | None = None


def with_vault(taken: Sequence[Taken], source: Source, context: IngestContext, known_rows: KnownRows) -> list[Receipt]:
    """The receipts of deliveries that were taken in, once the vault has what they tell of persons."""
    personal_values = [t.personal_values for t in taken if t.personal_values]
    files = iter(write_vault(personal_values, source, context, known_rows))
    return [
        replace(t.receipt, files=(*t.receipt.files, *next(files))) if t.personal_values else t.receipt for t in taken
    ]


def take_in(
    file: Delivered,
    source: Source,
    context: IngestContext,
    known_rows: KnownRows,
    now: datetime,
    *,
    compare: bool,
    part: str = "",
) -> Taken:
    """Read a delivery and write what is good of it, and what is not, into the lake.

    The same content at the same time (`now`) always writes the same bytes under the same names. The receipt lacks the
    vault's file still, see `with_vault`.

    Args:
        file: the delivery.
        source: its contract and adapter.
        context: lake and keys.
        known_rows: what the lake has of this source.
        now: the clock.
        compare: whether to look for its rows among those that are known, see `sift`.
        part: set apart from what was written of this delivery before.

    Raises:
        ContractError: the adapter makes other tables than the contract says.
    """
    blank = blank_receipt(file, source, now)
    try:
        layout, records = read(file, source)
        typed = read_as(records.text, layout)
        amounts = control_amounts(typed, layout)
        file.manifest.check(file.sha256, records.landed, amounts["amount"].sum())
        classified = classify_rows(records, typed, layout, source, context, known_rows, blank, compare=compare)
    except DeliveryRefusedError as refused:
        return Taken(_refused(blank, refused), {})
    return write(blank, classified, records, amounts, layout, source, context, part)


def hold_back(file: Delivered, source: Source, now: datetime) -> Taken:
    """A second file of what is delivered once: read and counted, and not taken in."""
    blank = blank_receipt(file, source, now)
    try:
        layout, records = read(file, source)
    except DeliveryRefusedError as refused:
        return Taken(_refused(blank, refused), {})
    amounts = control_amounts(read_as(records.text, layout), layout)
    reason = f"unexpected_delivery: {layout.name} comes once; another file of it, with other content, was accepted"
    return Taken(_held_back(blank, records.landed, _minor(amounts), reason), {})


def refuse(file: Delivered, source: Source, now: datetime, refused: DeliveryRefusedError) -> Taken:
    """A file that was refused before it was read."""
    return Taken(_refused(blank_receipt(file, source, now), refused), {})


def duplicate(original: Receipt, file_name: str, now: datetime) -> Taken:
    """The same content again, whatever its name: counted, with no effect."""
    receipt = replace(
        original,
        file_name=file_name,
        state=State.DUPLICATE,
        ingested_at=now.replace(tzinfo=None),
        accepted_rows=0,
        quarantined_rows=0,
        duplicate_rows=original.landed_rows,
        accepted_minor=0,
        quarantined_minor=0,
        duplicate_minor=original.landed_minor,
        reason=f"same content as {original.file_name}, which was {original.state}",
        files=(),
    )
    return Taken(receipt, {})


def read(file: Delivered, source: Source) -> tuple[Table, Records]:
    """The layout of a file and its records.

    Raises:
        DeliveryRefusedError: there is no layout for it, or see `read_records`.
    """
    layout = source.contract.layout_of(file.name)
    if layout is None:
        patterns = ", ".join(known_rows.file_pattern for known_rows in source.contract.layouts)
        lines = max(file.content.count(b"\n") - 1, 0)
        raise DeliveryRefusedError("unknown_file", f"no layout is for this name; there are {patterns}", lines)
    return layout, read_records(file.content, layout)


def control_amounts(records: Typed, layout: Table) -> pl.DataFrame:
    """The control amount of each record, whether it is taken in or not: line_no and amount.

    A part that is no amount, or outside the column's own bounds, counts as 0 wherever its record ends.
    """
    columns = [c for c in layout.columns if c.name in layout.control]
    parts = [money_within_bounds(c).fill_null(0).cast(_TOTAL) for c in columns]
    parts = parts or [pl.lit(0, dtype=_TOTAL)]  # a layout need not have an amount
    return records.rows.select(LINE_NO, pl.sum_horizontal(parts).alias("amount"))


def write(
    blank: Receipt,
    classified: ClassifiedRows,
    records: Records,
    amounts: pl.DataFrame,
    layout: Table,
    source: Source,
    context: IngestContext,
    part: str = "",
) -> Taken:
    """Write the rows of a delivery and those that are held back; the receipt counts both.

    What it tells of persons is not written yet, see `with_vault`.
    """
    folder, name = Path("raw") / source.name, f"{blank.delivery_id}{part}.parquet"
    tables = classified.tables | ({SUPERSEDED: classified.superseded} if classified.superseded.height else {})
    files = [_write(table, folder / table / name, rows, context.lake) for table, rows in tables.items()]
    personal_values = personal_values_of(records.text, classified.good, layout, source, name)
    if classified.bad.height:
        files.append(_write_quarantine(classified.bad, records, amounts, source, context, blank, part))
    accepted, accepted_minor = _read_back(context.lake, files, source.contract.control_table)
    bad = classified.bad
    receipt = replace(
        blank,
        state=_state(accepted=accepted.height, bad=bad.height, duplicates=classified.duplicates.height),
        landed_rows=records.landed,
        accepted_rows=lines_of(records, accepted),
        quarantined_rows=lines_of(records, bad),
        duplicate_rows=lines_of(records, classified.duplicates),
        landed_minor=_minor(amounts),
        accepted_minor=accepted_minor,
        quarantined_minor=minor_of(amounts, bad),
        duplicate_minor=minor_of(amounts, classified.duplicates),
        reason=_reason(bad, accepted),
        files=tuple(files),
    )
    return Taken(receipt, keys_of(classified.tables, source.contract), personal_values)


def minor_of(amounts: pl.DataFrame, rows: pl.DataFrame) -> int:
    """The control amount of these rows in minor units."""
    return _minor(amounts.join(rows, on=LINE_NO, how="semi")) if rows.height else 0


def _state(*, accepted: int, bad: int, duplicates: int) -> State:
    if not bad:
        return State.ACCEPTED if accepted else State.DUPLICATE
    return State.PARTIAL if accepted or duplicates else State.QUARANTINED


def _reason(bad: pl.DataFrame, accepted: pl.DataFrame) -> str | None:
    if bad.height:
        return f"{bad.height} rows broke {bad['rule'].n_unique()} rule(s)"
    return None if accepted.height else "every row of it was delivered before"


def blank_receipt(file: Delivered, source: Source, now: datetime) -> Receipt:
    """A receipt that counts nothing yet."""
    return Receipt(
        source=source.name,
        delivery_id=file.sha256[:16],
        sha256=file.sha256,
        file_name=file.name,
        state=State.QUARANTINED,
        contract_version=source.contract.version,
        ingested_at=now.replace(tzinfo=None),
        **dict.fromkeys(_COUNTS, 0),
        reason=None,
        files=(),
    )


def _refused(blank: Receipt, refused: DeliveryRefusedError) -> Receipt:
    return _held_back(blank, refused.lines, 0, f"{refused.rule}: {refused.message}")


def _held_back(blank: Receipt, lines: int, minor: int, reason: str) -> Receipt:
    """The whole file is quarantined."""
    return replace(
        blank,
        landed_rows=lines,
        quarantined_rows=lines,
        landed_minor=minor,
        quarantined_minor=minor,
        reason=reason,
    )


def _write(table: str, path: Path, rows: pl.DataFrame, lake: Path) -> LakeFile:
    # Raw tables are read whole: statistics would take a sixth of the time that writing takes.
    return LakeFile(table, str(path), write_parquet(rows, lake / path, flushed=False, statistics=False), rows.height)


def _write_quarantine(
    bad: pl.DataFrame,
    records: Records,
    amounts: pl.DataFrame,
    source: Source,
    context: IngestContext,
    receipt: Receipt,
    part: str,
) -> LakeFile:
    """Bad rows with rule and message in the clear and the record, as it was delivered, sealed for `open_row`.

    `minor` is what of the control amount was counted for the row: 0 where it could not be read.
    """
    kept = bad.join(places(records), on=LINE_NO, how="left").join(amounts, on=LINE_NO, how="left")
    texts = [records.raw_record(line, lines) for line, lines in kept.select(LINE_NO, LINES).iter_rows()]
    sealed = seal_rows(kept[LINE_NO].to_list(), texts, source, context, receipt.sha256)
    frame = kept.drop("amount").with_columns(
        (kept["amount"].fill_null(0) * MINOR_PER_UNIT).cast(pl.Int64).alias("minor"),
        source=pl.lit(receipt.source),
        delivery_id=pl.lit(receipt.delivery_id),
        sealed_row=pl.Series(sealed, dtype=pl.Binary),
        first_seen_at=pl.lit(receipt.ingested_at, dtype=pl.Datetime("us")),
    )
    # A delivery that is read again under a newer contract leaves what the older one held back as it was.
    name = f"{receipt.delivery_id}-{receipt.contract_version}{part}.parquet"
    return _write(QUARANTINE, Path(QUARANTINE) / receipt.source / name, frame, context.lake)


def _minor(amounts: pl.DataFrame) -> int:
    return int(amounts["amount"].sum() * MINOR_PER_UNIT)


def _read_back(lake: Path, files: list[LakeFile], control: Table) -> tuple[pl.DataFrame, int]:
    """What stands in the written raw files, not what is remembered: distinct delivered lines, and the control amount.

    The amount is in minor units.
    """
    lines, minor = [pl.Series(LINE_NO, dtype=pl.Int64)], 0
    for file in files:
        if file.table in (QUARANTINE, SUPERSEDED):
            continue
        wanted = [LINE_NO, *(control.control[:1] if file.table == control.name else ())]
        found = pl.read_parquet(lake / file.path, columns=wanted)
        lines.append(found[LINE_NO])
        if len(wanted) > 1:
            minor += int(found[wanted[1]].cast(_TOTAL).sum() * MINOR_PER_UNIT)
    together = pl.concat(lines)
    numbers = together.to_numpy()
    # A line may have made rows in several tables, or several in one.
    is_once = bool((numbers[1:] > numbers[:-1]).all())
    return (together if is_once else together.unique()).to_frame(), minor
