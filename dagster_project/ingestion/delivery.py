"""Ingests one delivered file: parse it, classify its lines, write them to the lake, count them in a receipt.

The written files have no effect until `intake` commits the receipt.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import polars as pl

from dagster_project.ingestion.classify import ClassifiedRows, classify, count_lines
from dagster_project.ingestion.contracts.canonical import SUPERSEDED
from dagster_project.ingestion.contracts.contract import Table
from dagster_project.ingestion.contracts.source import Source
from dagster_project.ingestion.lake.context import IngestContext
from dagster_project.ingestion.lake.files import write_parquet
from dagster_project.ingestion.lake.receipts import LakeFile, Receipt, State
from dagster_project.ingestion.lake.row_index import KeysOf, KnownRows, keys_of
from dagster_project.ingestion.parsing.parse import AMOUNT, Delivered, Parsed, line_spans, parse, parse_unchecked
from dagster_project.ingestion.parsing.records import LINE_NO, LINES, DeliveryRefusedError
from dagster_project.ingestion.persons.originals import seal_rows
from dagster_project.ingestion.persons.vault import PersonalValues, personal_values_of, write_vault

MINOR_PER_UNIT = 100
QUARANTINE = "quarantine"
_COUNTS = tuple(
    f"{outcome}_{unit}" for outcome in ("landed", "accepted", "quarantined", "duplicate") for unit in ("rows", "minor")
)


@dataclass(frozen=True)
class TakenIn:
    """A delivery before its commit.

    `receipt`: its receipt. `keys`: hashes of the keys in the lake files that the receipt names, by table; empty if the
    result of another delivery has them, because the files are shared. `personal_values`: values that are still to be
    written to the vault; None if there are none.
    """

    receipt: Receipt
    keys: KeysOf
    personal_values: PersonalValues | None = None


def take_in(
    file: Delivered, source: Source, context: IngestContext, known_rows: KnownRows, now: datetime, *, compare: bool
) -> TakenIn:
    """Ingest one file: write its good and bad rows to the lake, and count both in a receipt.

    The same content with the same `now` always writes the same bytes to the same file names. `with_vault` adds
    the vault's files to the receipt later.

    Args:
        file: the delivery.
        source: its contract and adapter.
        context: lake and keys.
        known_rows: the rows that the lake has from this source.
        now: the time of ingestion.
        compare: whether to look for the file's rows in the lake, see `classify`.

    Raises:
        ContractError: the adapter's tables differ from the contract.
    """
    blank = blank_receipt(file, source, now)
    try:
        parsed = parse(file, source.contract)
        rows = classify(parsed, source, context, known_rows, blank, compare=compare)
    except DeliveryRefusedError as refused:
        return TakenIn(_refused(blank, refused), {})
    return write(blank, parsed, rows, source, context)


def hold_back(file: Delivered, source: Source, now: datetime) -> TakenIn:
    """Count and quarantine a whole file, because its layout is delivered once and another file was accepted."""
    blank = blank_receipt(file, source, now)
    try:
        parsed = parse_unchecked(file, source.contract)
    except DeliveryRefusedError as refused:
        return TakenIn(_refused(blank, refused), {})
    name = parsed.layout.name
    reason = f"unexpected_delivery: {name} comes once; another file of it, with other content, was accepted"
    return TakenIn(_quarantined(blank, parsed.records.landed, _minor(parsed.amounts), reason), {})


def refuse(file: Delivered, source: Source, now: datetime, refused: DeliveryRefusedError) -> TakenIn:
    """Quarantine a whole file that was refused before it was parsed."""
    return TakenIn(_refused(blank_receipt(file, source, now), refused), {})


def duplicate(original: Receipt, file_name: str, now: datetime) -> TakenIn:
    """Return the receipt of content that was delivered before, under any name: counted, but nothing is written."""
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
    return TakenIn(receipt, {})


def write(
    blank: Receipt, parsed: Parsed, rows: ClassifiedRows, source: Source, context: IngestContext, part: str = ""
) -> TakenIn:
    """Write accepted and rejected rows to the lake, and count them in the receipt.

    `part`: a suffix for the file names, needed if rows of the same delivery were written before. `with_vault` writes
    the values for the vault later.
    """
    name = f"{blank.delivery_id}{part}.parquet"
    files = [
        write_raw(table, source.name, name, frame, context.lake)
        for table, frame in (rows.tables | ({SUPERSEDED: rows.superseded} if rows.superseded.height else {})).items()
    ]
    if rows.rejected.height:
        files.append(_write_quarantine(rows.rejected, parsed, source, context, blank, part))
    personal_values = personal_values_of(parsed.records.text, rows.accepted, parsed.layout, source, name)
    receipt = _count(blank, parsed, rows, files, context.lake, source.contract.control_table)
    return TakenIn(receipt, keys_of(rows.tables, source.contract), personal_values)


def with_vault(
    taken: Sequence[TakenIn], source: Source, context: IngestContext, known_rows: KnownRows
) -> list[Receipt]:
    """Write the personal values of these deliveries to the vault. Returns their receipts with the vault's files."""
    personal_values = [t.personal_values for t in taken if t.personal_values]
    files = iter(write_vault(personal_values, source, context, known_rows))
    return [
        replace(t.receipt, files=(*t.receipt.files, *next(files))) if t.personal_values else t.receipt for t in taken
    ]


def write_raw(table: str, source: str, name: str, rows: pl.DataFrame, lake: Path) -> LakeFile:
    """Write rows of a canonical table to a lake file with this name."""
    return _write(table, Path("raw") / source / table / name, rows, lake)


def minor_units(column: str) -> pl.Expr:
    """An amount in minor units."""
    return (pl.col(column).cast(AMOUNT) * MINOR_PER_UNIT).cast(pl.Int64)


def minor_of(amounts: pl.DataFrame, rows: pl.DataFrame) -> int:
    """The control amount of these rows in minor units."""
    return _minor(amounts.join(rows, on=LINE_NO, how="semi")) if rows.height else 0


def blank_receipt(file: Delivered, source: Source, now: datetime) -> Receipt:
    """A receipt whose counts are all 0."""
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


def _count(
    blank: Receipt, parsed: Parsed, rows: ClassifiedRows, files: list[LakeFile], lake: Path, control: Table
) -> Receipt:
    """Fill in the receipt. Landed lines are counted in the delivered bytes, accepted lines in the written files."""
    accepted, accepted_minor = _read_back(lake, files, control)
    return replace(
        blank,
        state=_state(accepted=accepted.height, rejected=rows.rejected.height, duplicates=rows.duplicates.height),
        landed_rows=parsed.records.landed,
        accepted_rows=count_lines(parsed, accepted),
        quarantined_rows=count_lines(parsed, rows.rejected),
        duplicate_rows=count_lines(parsed, rows.duplicates),
        landed_minor=_minor(parsed.amounts),
        accepted_minor=accepted_minor,
        quarantined_minor=minor_of(parsed.amounts, rows.rejected),
        duplicate_minor=minor_of(parsed.amounts, rows.duplicates),
        reason=_reason(rows.rejected, accepted),
        files=tuple(files),
    )


def _state(*, accepted: int, rejected: int, duplicates: int) -> State:
    if not rejected:
        return State.ACCEPTED if accepted else State.DUPLICATE
    return State.PARTIAL if accepted or duplicates else State.QUARANTINED


def _reason(rejected: pl.DataFrame, accepted: pl.DataFrame) -> str | None:
    if rejected.height:
        return f"{rejected.height} rows broke {rejected['rule'].n_unique()} rule(s)"
    return None if accepted.height else "every row of it was delivered before"


def _refused(blank: Receipt, refused: DeliveryRefusedError) -> Receipt:
    return _quarantined(blank, refused.lines, 0, f"{refused.rule}: {refused.message}")


def _quarantined(blank: Receipt, lines: int, minor: int, reason: str) -> Receipt:
    """The receipt of a file that is quarantined whole."""
    return replace(
        blank,
        landed_rows=lines,
        quarantined_rows=lines,
        landed_minor=minor,
        quarantined_minor=minor,
        reason=reason,
    )


def _write(table: str, path: Path, rows: pl.DataFrame, lake: Path) -> LakeFile:
    # Readers read whole raw tables, so statistics are no use; they would take a sixth of the writing time.
    return LakeFile(table, str(path), write_parquet(rows, lake / path, flushed=False, statistics=False), rows.height)


def _write_quarantine(
    rejected: pl.DataFrame, parsed: Parsed, source: Source, context: IngestContext, receipt: Receipt, part: str
) -> LakeFile:
    """Write rejected rows: rule and message in plain text, the delivered record encrypted (`open_row` decrypts it).

    Column `minor` is the row's control amount in minor units; 0 if it could not be read.
    """
    spans = line_spans(parsed.records)
    kept = rejected.join(spans, on=LINE_NO, how="left").join(parsed.amounts, on=LINE_NO, how="left")
    texts = [parsed.records.raw_record(line, lines) for line, lines in kept.select(LINE_NO, LINES).iter_rows()]
    sealed = seal_rows(kept[LINE_NO].to_list(), texts, source, context, receipt.sha256)
    frame = kept.drop("amount").with_columns(
        (kept["amount"].fill_null(0) * MINOR_PER_UNIT).cast(pl.Int64).alias("minor"),
        source=pl.lit(receipt.source),
        delivery_id=pl.lit(receipt.delivery_id),
        sealed_row=pl.Series(sealed, dtype=pl.Binary),
        first_seen_at=pl.lit(receipt.ingested_at, dtype=pl.Datetime("us")),
    )
    # The contract version in the name keeps rows that an older contract version quarantined from being overwritten.
    name = f"{receipt.delivery_id}-{receipt.contract_version}{part}.parquet"
    return _write(QUARANTINE, Path(QUARANTINE) / receipt.source / name, frame, context.lake)


def _minor(amounts: pl.DataFrame) -> int:
    return int(amounts["amount"].sum() * MINOR_PER_UNIT)


def _read_back(lake: Path, files: list[LakeFile], control: Table) -> tuple[pl.DataFrame, int]:
    """Read the written raw files: the distinct delivered lines in them, and their control amount in minor units."""
    lines, minor = [pl.Series(LINE_NO, dtype=pl.Int64)], 0
    for file in files:
        if file.table in (QUARANTINE, SUPERSEDED):
            continue
        wanted = [LINE_NO, *(control.control[:1] if file.table == control.name else ())]
        found = pl.read_parquet(lake / file.path, columns=wanted)
        lines.append(found[LINE_NO])
        if len(wanted) > 1:
            minor += int(found[wanted[1]].cast(AMOUNT).sum() * MINOR_PER_UNIT)
    together = pl.concat(lines)
    numbers = together.to_numpy()
    # One line may have several rows, in one table or in several.
    is_once = bool((numbers[1:] > numbers[:-1]).all())
    return (together if is_once else together.unique()).to_frame(), minor
