"""One delivery: read, split, adapt, pseudonymise, write; its receipt says what every line and cent became.

Nothing here counts before the receipt is committed, and that is `deliver`'s.
"""

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import polars as pl

from dagster_project.ingestion.border import Border
from dagster_project.ingestion.canonical import raw_schema
from dagster_project.ingestion.contracts import ContractError, Table
from dagster_project.ingestion.keys import Keys
from dagster_project.ingestion.lake import write_parquet
from dagster_project.ingestion.originals import seal_rows
from dagster_project.ingestion.reading import LINE_NO, LINES, DeliveryRefusedError, Records, read_records
from dagster_project.ingestion.receipts import LakeFile, Receipt, State
from dagster_project.ingestion.rules import Checked, check_rows, money, within_bounds
from dagster_project.ingestion.source import Source
from dagster_project.ingestion.vault import VAULT, write_vault

MINOR_PER_UNIT = 100
_TOTAL = pl.Decimal(38, 2)
_COUNTS = tuple(
    f"{what}_{unit}" for what in ("landed", "accepted", "quarantined", "duplicate") for unit in ("rows", "minor")
)


def take_in(file_name: str, content: bytes, sha256: str, source: Source, border: Border, now: datetime) -> Receipt:
    """Read a delivery and write what is good of it, and what is not, into the lake; returns the receipt to commit.

    The same content at the same time (`now`) always writes the same bytes under the same names.

    Raises:
        ContractError: the adapter makes other tables than the contract says.
    """
    blank = _blank(file_name, sha256, source, now)
    try:
        layout, records = _read(file_name, content, source)
    except DeliveryRefusedError as refused:
        return _held_back(blank, refused.lines, 0, f"{refused.rule}: {refused.message}")
    amounts = _control_amounts(records, layout)
    checked = _limit_bad_share(check_rows(records.text, layout), records, border.max_bad_row_share)
    bad = _all_bad(checked, records)
    files = []
    if checked.good.height:
        files = _write_tables(layout, checked.good, source, border, blank)
        accepted = records.text.join(checked.good, on=LINE_NO, how="semi")
        files += write_vault(accepted, layout, source, border, blank)
    if bad.height:
        files.append(_write_quarantine(bad, records, source, border, blank))
    return replace(
        blank,
        state=State.ACCEPTED if not bad.height else State.PARTIAL if checked.good.height else State.QUARANTINED,
        landed_rows=records.landed,
        accepted_rows=_lines(records, _written_lines(border.lake, files)),
        quarantined_rows=_lines(records, bad),
        duplicate_rows=_lines(records, checked.duplicates),
        landed_minor=_minor(amounts),
        accepted_minor=_written_minor(border.lake, files, source.contract.control_table),
        quarantined_minor=_minor_of(amounts, bad),
        duplicate_minor=_minor_of(amounts, checked.duplicates),
        reason=f"{bad.height} rows broke {bad['rule'].n_unique()} rule(s)" if bad.height else None,
        files=tuple(files),
    )


def hold_back(file_name: str, content: bytes, sha256: str, source: Source, now: datetime) -> Receipt:
    """A second file of what is delivered once: read and counted, and not taken in."""
    blank = _blank(file_name, sha256, source, now)
    try:
        layout, records = _read(file_name, content, source)
    except DeliveryRefusedError as refused:
        return _held_back(blank, refused.lines, 0, f"{refused.rule}: {refused.message}")
    reason = f"unexpected_delivery: {layout.name} comes once; another file of it, with other content, was accepted"
    return _held_back(blank, records.landed, _minor(_control_amounts(records, layout)), reason)


def duplicate(original: Receipt, file_name: str, now: datetime) -> Receipt:
    """The same content again, whatever its name: counted, with no effect."""
    return replace(
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


def _blank(file_name: str, sha256: str, source: Source, now: datetime) -> Receipt:
    return Receipt(
        source=source.name,
        delivery_id=sha256[:16],
        sha256=sha256,
        file_name=file_name,
        state=State.QUARANTINED,
        contract_version=source.contract.version,
        ingested_at=now.replace(tzinfo=None),
        **dict.fromkeys(_COUNTS, 0),
        reason=None,
        files=(),
    )


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


def _read(file_name: str, content: bytes, source: Source) -> tuple[Table, Records]:
    layout = source.contract.layout_of(file_name)
    if layout is None:
        patterns = ", ".join(known.file_pattern for known in source.contract.layouts)
        lines = max(content.count(b"\n") - 1, 0)
        raise DeliveryRefusedError("unknown_file", f"no layout is for this name; there are {patterns}", lines)
    return layout, read_records(content, layout)


def _limit_bad_share(checked: Checked, records: Records, limit: float) -> Checked:
    """Above the limit the whole delivery is bad: a file that is wrong in many rows is not trusted in the others."""
    wrong = _lines(records, checked.bad) + int(records.ragged[LINES].sum())
    if wrong <= limit * records.landed:
        return checked
    message = f"{wrong} of {records.landed} lines break rules, more than {limit:.1%}: the whole file is held back"
    rest = checked.good.select(LINE_NO, pl.lit("too_many_bad_rows").alias("rule"), pl.lit(message).alias("message"))
    return Checked(checked.good.clear(), pl.concat([checked.bad, rest]).sort(LINE_NO), checked.duplicates)


def _all_bad(checked: Checked, records: Records) -> pl.DataFrame:
    if records.ragged.is_empty():
        return checked.bad
    ragged = records.ragged.select(
        LINE_NO, pl.lit("ragged").alias("rule"), pl.lit("the row has another number of fields").alias("message")
    )
    return pl.concat([checked.bad, ragged]).sort(LINE_NO)


def _write_tables(
    layout: Table, good: pl.DataFrame, source: Source, border: Border, receipt: Receipt
) -> list[LakeFile]:
    personal = [c.name for c in layout.columns if c.classification == "personal"]  # an adapter never sees them
    made = source.adapt(layout.name, good.drop(personal), source.contract)
    lineage = {
        "source": pl.lit(source.name),
        "delivery_id": pl.lit(receipt.delivery_id),
        "ingested_at": pl.lit(receipt.ingested_at, dtype=pl.Datetime("us")),
    }
    files = []
    for name, rows in made.items():
        table = source.contract.table(name)
        frame = _pseudonymise(rows, table, border.keys, source.name).with_columns(**lineage)
        schema = raw_schema(name)
        absent = {c: pl.lit(None, dtype=t) for c, t in schema.items() if c not in frame.columns}
        absent = {c: null for c, null in absent.items() if c not in table.schema}
        try:
            frame = frame.with_columns(**absent).select(list(schema)).match_to_schema(schema)
        except (pl.exceptions.SchemaError, pl.exceptions.ColumnNotFoundError) as error:
            raise ContractError(f"{source.name}.{table.name}: not what the contract says: {error}") from None
        path = Path("raw") / source.name / table.name / f"{receipt.delivery_id}.parquet"
        files.append(LakeFile(table.name, str(path), write_parquet(frame, border.lake / path), frame.height))
    return files


def _pseudonymise(frame: pl.DataFrame, table: Table, keys: Keys, source: str) -> pl.DataFrame:
    for column in table.columns:
        if column.classification == "identifier":
            known = keys.pseudonyms(frame[column.name], f"{source}.{column.name}")
            frame = frame.with_columns(pl.col(column.name).replace_strict(known["value"], known["pseudonym"]))
    return frame


def _write_quarantine(
    bad: pl.DataFrame, records: Records, source: Source, border: Border, receipt: Receipt
) -> LakeFile:
    """Bad rows with rule and message in the clear and the record, as it was delivered, sealed for `open_row`."""
    kept = bad.join(_places(records), on=LINE_NO, how="left")
    texts = [records.raw_record(line, lines) for line, lines in kept.select(LINE_NO, LINES).iter_rows()]
    sealed = seal_rows(kept[LINE_NO].to_list(), texts, source, border, receipt.sha256)
    frame = kept.with_columns(
        source=pl.lit(receipt.source),
        delivery_id=pl.lit(receipt.delivery_id),
        sealed_row=pl.Series(sealed, dtype=pl.Binary),
        first_seen_at=pl.lit(receipt.ingested_at, dtype=pl.Datetime("us")),
    )
    # A delivery that is read again under a newer contract leaves what the older one held back as it was.
    path = Path("quarantine") / receipt.source / f"{receipt.delivery_id}-{receipt.contract_version}.parquet"
    return LakeFile("quarantine", str(path), write_parquet(frame, border.lake / path), frame.height)


def _places(records: Records) -> pl.DataFrame:
    return pl.concat([records.text.select(LINE_NO, LINES), records.ragged])


def _lines(records: Records, rows: pl.DataFrame) -> int:
    """How many raw lines these records stand on."""
    if rows.is_empty():
        return 0
    return int(_places(records).join(rows, on=LINE_NO, how="semi")[LINES].sum())


def _control_amounts(records: Records, layout: Table) -> pl.DataFrame:
    """The control amount of each record, from the text and not from the typed rows.

    A part that is no amount, or outside the column's own bounds, counts as 0 wherever its record ends.
    """
    columns = [c for c in layout.columns if c.name in layout.control]
    parts = [pl.lit(0, dtype=_TOTAL)]  # a layout need not have an amount
    parts += [pl.when(within_bounds(c)).then(money(c.name)).fill_null(0).cast(_TOTAL) for c in columns]
    return records.text.select(LINE_NO, pl.sum_horizontal(parts).alias("amount"))


def _minor(amounts: pl.DataFrame) -> int:
    return int(amounts["amount"].sum() * MINOR_PER_UNIT)


def _minor_of(amounts: pl.DataFrame, rows: pl.DataFrame) -> int:
    return _minor(amounts.join(rows, on=LINE_NO, how="semi")) if rows.height else 0


def _written_lines(lake: Path, files: list[LakeFile]) -> pl.DataFrame:
    """Distinct delivered lines that stand in the written raw files: read back, not remembered."""
    written = [pl.scan_parquet(lake / f.path).select(LINE_NO) for f in files if f.table not in ("quarantine", VAULT)]
    return pl.concat(written).unique().collect() if written else pl.DataFrame(schema={LINE_NO: pl.Int64})


def _written_minor(lake: Path, files: list[LakeFile], control: Table) -> int:
    """The control amount that stands in the written raw files, in minor units."""
    paths = [lake / f.path for f in files if f.table == control.name]
    if not paths:
        return 0
    return _minor(pl.scan_parquet(paths).select(pl.col(control.control[0]).cast(_TOTAL).alias("amount")).collect())
