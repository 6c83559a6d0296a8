"""The ingestion of one delivered file, up to the commit of its receipt.

A file is parsed, its lines are classified and written to the lake, and the lines are counted in a receipt. The files
written to the lake are ignored until `intake` commits the receipt.
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
    """A delivery that was processed, but whose receipt is not committed yet.

    Attributes:
        receipt: the receipt to commit.
        keys: sorted hashes of the keys in the lake files that the receipt names, by raw table. Tables of persons are
            left out. If deliveries share lake files, the first of them has all keys, and the others have none.
        personal_values: the values that must still be written to the vault, or None if there are none.
    """

    receipt: Receipt
    keys: KeysOf
    personal_values: PersonalValues | None = None


def take_in(
    file: Delivered, source: Source, context: IngestContext, known_rows: KnownRows, now: datetime, *, compare: bool
) -> TakenIn:
    """Ingest one file: write its accepted and rejected rows to the lake, and count its lines in a receipt.

    If the file is refused, nothing is written and the receipt counts the whole file as quarantined. The vault's files
    are not written here; `with_vault` writes them and adds them to the receipt. The same content with the same `now`
    is always written to the same file names.

    Args:
        file: the delivered file.
        source: the source that delivered the file.
        context: the lake, the keys and the limits of ingestion.
        known_rows: the rows of this source that are already in the lake.
        now: the time of ingestion in the receipt.
        compare: whether to compare the file's rows with the rows in the lake; see `classify`.

    Raises:
        ContractError: the tables that the adapter built differ from the contract.
    """
    blank = blank_receipt(file, source, now)
    try:
        parsed = parse(file, source.contract)
        rows = classify(parsed, source, context, known_rows, blank, compare=compare)
    except DeliveryRefusedError as refused:
        return TakenIn(_refused(blank, refused), {})
    return write(blank, parsed, rows, source, context)


def hold_back(file: Delivered, source: Source, now: datetime) -> TakenIn:
    """Return a delivery whose receipt quarantines the whole file, because its layout may be delivered only once.

    Call this if another file with the same layout has already been accepted. If the file cannot be parsed, that is the
    reason in the receipt instead. Nothing is written to the lake.
    """
    blank = blank_receipt(file, source, now)
    try:
        parsed = parse_unchecked(file, source.contract)
    except DeliveryRefusedError as refused:
        return TakenIn(_refused(blank, refused), {})
    name = parsed.layout.name
    reason = f"unexpected_delivery: {name} comes once; another file of it, with other content, was accepted"
    return TakenIn(_quarantined(blank, parsed.records.landed, _minor(parsed.amounts), reason), {})


def refuse(file: Delivered, source: Source, now: datetime, refused: DeliveryRefusedError) -> TakenIn:
    """Return a delivery whose receipt quarantines the whole file, for the reason given by `refused`.

    Call this for a file that was refused before it could be parsed. Nothing is written to the lake.
    """
    return TakenIn(_refused(blank_receipt(file, source, now), refused), {})


def duplicate(original: Receipt, file_name: str, now: datetime) -> TakenIn:
    """Return a delivery whose receipt counts all lines as duplicates.

    Call this if the same content was already delivered, under this or another name. Nothing is written to the lake.

    Args:
        original: the receipt of the earlier delivery.
        file_name: the name of the new file.
        now: the time of ingestion in the new receipt.
    """
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
    """Write the accepted and rejected rows to the lake, and count the lines of the file in a receipt.

    The values for the vault are returned, but not written; `with_vault` writes them.

    Args:
        blank: the receipt of the file, with all counts 0.
        parsed: the parsed file.
        rows: the lines of the file by outcome.
        source: the source that delivered the file.
        context: the lake and the keys.
        part: a suffix for the names of the lake files. It is needed if rows of the same delivery were written before,
            so that no file is overwritten.
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
    """Write the personal values of these deliveries to the vault.

    Returns the receipts of the deliveries in the same order. Each receipt now also names the vault files that were
    written for its delivery.
    """
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
    """Return the sum of the control amounts of the given rows, in minor units (cents).

    `amounts` has the control amount of each record, and `rows` has the `line_no` of each record to include. If `rows`
    is empty, the sum is 0.
    """
    return _minor(amounts.join(rows, on=LINE_NO, how="semi")) if rows.height else 0


def blank_receipt(file: Delivered, source: Source, now: datetime) -> Receipt:
    """Return a receipt for this file with all counts 0 and no lake files.

    The state is QUARANTINED, so a caller that accepts rows must replace it.
    """
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
    """Return the receipt with its counts, state, reason and files filled in.

    Landed lines are counted in the delivered bytes. Accepted lines and amounts are counted in the files that were
    written, by reading them back.
    """
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
    """Return the receipt of a file that is quarantined as a whole.

    `minor` is the control amount of the file, in minor units.
    """
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
    """Write the rejected rows to a file of the quarantine.

    The rule and the message are stored as plain text. The delivered text of each row is encrypted; `open_row` decrypts
    it. The column `minor` is the row's control amount in minor units, or 0 if the amount could not be read.
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
    """Read the raw files that were written to the lake, and count what they contain.

    Returns a frame with the distinct `line_no` values in these files, and the sum of their control amounts in minor
    units. Files of the quarantine and of the table `superseded` are not counted.
    """
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
