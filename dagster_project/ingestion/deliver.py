"""One delivery's way: hash, read, split, adapt, pseudonymise, write, receipt, archive.

The order is the promise: the Parquet files first, the receipt last, and only then does the original leave the
landing folder. A crash at any point leaves either nothing that counts, or a receipt whose original is archived on
the next start.
"""

import hashlib
import importlib
import shutil
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from importlib import metadata, resources
from pathlib import Path

import polars as pl

from dagster_project.ingestion import mapped, sources
from dagster_project.ingestion.canonical import raw_schema
from dagster_project.ingestion.contracts import Contract, ContractError, PackagedFile, Table, load_contract
from dagster_project.ingestion.keys import Keys, MasterKeyError
from dagster_project.ingestion.lake import sweep, write_parquet
from dagster_project.ingestion.reading import LINE_NO, LINES, DeliveryRefusedError, Records, read_records
from dagster_project.ingestion.receipts import LakeFile, Receipt, ReceiptBook, State
from dagster_project.ingestion.rules import Checked, check_rows, money, within_bounds

# Makes canonical tables of the typed rows of one file: (layout's name, rows, contract) -> rows by table.
Adapter = Callable[[str, pl.DataFrame, Contract], dict[str, pl.DataFrame]]
MINOR_PER_UNIT = 100
CONTRACT_FILE = "contract.yaml"
_TOTAL = pl.Decimal(38, 2)
_COUNTS = tuple(
    f"{what}_{unit}" for what in ("landed", "accepted", "quarantined", "duplicate") for unit in ("rows", "minor")
)


@dataclass(frozen=True)
class Source:
    """A contract and the adapter that makes canonical tables of a delivered file."""

    contract: Contract
    adapt: Adapter

    @property
    def name(self) -> str:
        """The source's name, as in its contract."""
        return self.contract.source


@dataclass(frozen=True)
class Border:
    """Where deliveries come from and go to, and what ingestion needs to let them pass."""

    landing: Path
    lake: Path
    keys: Keys
    max_bad_row_share: float

    @property
    def book(self) -> ReceiptBook:
        """The receipts of this lake."""
        return ReceiptBook(self.lake / "receipts.sqlite")

    def check_key(self) -> None:
        """Refuse a key that is not the one that this lake's pseudonyms are made with.

        Raises:
            MasterKeyError: another key was used before.
        """
        if (self.lake / "receipts.sqlite").exists() and self.book.key_mark(self.keys.mark) != self.keys.mark:
            raise MasterKeyError(
                f"the pseudonyms in {self.lake} were made with another key. Give that key, or begin in an empty home: "
                "a lake cannot change its key by a setting"
            )


class ClockError(RuntimeError):
    """A replay's clock would run backwards, or ahead of the world."""


def load_sources(own: Path | None = None) -> dict[str, Source]:
    """Every source by name: those that come with the project, and those of the user's folder `own`.

    A source is a folder with a `contract.yaml`. One of the project's may have an `adapter.py` beside it; one without,
    and every one of a user's, is mapped by its contract alone.

    Raises:
        ContractError: a contract cannot be used.
    """
    found = {}
    for folder in sorted(Path(str(resources.files(sources))).iterdir()):
        if (folder / CONTRACT_FILE).is_file():
            if (folder / "adapter.py").is_file():
                adapter = importlib.import_module(f"{sources.__name__}.{folder.name}.adapter")
                found[folder.name] = Source(load_contract(folder / CONTRACT_FILE), adapter.adapt)
            else:
                found[folder.name] = _mapped(folder / CONTRACT_FILE)
    for path in own_contracts(own) if own else []:
        source = _mapped(path)
        if source.name in found:
            raise ContractError(f"{path}: a source {source.name!r} comes with the project; choose another id")
        found[source.name] = source
    return found


def _mapped(path: Path) -> Source:
    """A source without adapter."""
    contract = load_contract(path)
    mapped.check_mapping(str(path), contract)
    return Source(contract, mapped.adapt)


def own_contracts(folder: Path) -> list[Path]:
    """The contract files of the user's own sources."""
    return sorted(folder.glob(f"*/{CONTRACT_FILE}"))


def land_packaged(source: Source, border: Border) -> bool:
    """Drop the file that a Python distribution ships into the landing folder, unless it was taken in before.

    Returns whether a file was dropped. A file that somebody else landed goes first.

    Raises:
        FileNotFoundError: the distribution is not installed, or does not ship the file.
    """
    packaged = source.contract.packaged
    if packaged is None or waiting(source, border) or border.book.has_accepted(source.name):
        return False
    content = _shipped(source.name, packaged)
    if border.book.find(source.name, hashlib.sha256(content).hexdigest(), source.contract.version):
        return False
    folder = border.landing / source.name
    folder.mkdir(parents=True, exist_ok=True)
    arriving = folder / f".{Path(packaged.path).name}.arriving"
    arriving.write_bytes(content)
    arriving.replace(folder / Path(packaged.path).name)
    return True


def land_folder(source: Source, border: Border, folder: Path) -> list[str]:
    """Copy the files of a folder, and of those below it, that the contract has a layout for; returns their names.

    A file arrives under a hidden name and is renamed, so that a night never sees half of it.
    """
    target = border.landing / source.name
    target.mkdir(parents=True, exist_ok=True)
    found = sorted(p for p in folder.rglob("*") if p.is_file() and source.contract.layout_of(p.name))
    for path in found:
        arriving = target / f".{path.name}.arriving"
        shutil.copyfile(path, arriving)
        arriving.replace(target / path.name)
    return [path.name for path in found]


def _shipped(source: str, packaged: PackagedFile) -> bytes:
    hint = f"install it with `make run` or from requirements-data.lock ({packaged.distribution})"
    try:
        files = metadata.files(packaged.distribution) or []
    except metadata.PackageNotFoundError:
        raise FileNotFoundError(f"{source}: its data package is not installed; {hint}") from None
    for item in files:
        if str(item).endswith(packaged.path):
            return Path(str(item.locate())).read_bytes()
    raise FileNotFoundError(f"{source}: {packaged.distribution} does not ship {packaged.path}; {hint}")


def waiting(source: Source, border: Border, on: date | None = None) -> list[Path]:
    """Files in the source's landing folder, by name; hidden ones (still arriving) are left alone.

    `on`: the day of a replay; files whose names say that they arrive later are not there yet.
    """
    folder = border.landing / source.name
    files = sorted(p for p in folder.glob("*") if p.is_file() and not p.name.startswith(".")) if folder.exists() else []
    if on is None:
        return files
    return [p for p in files if (source.contract.arrives_on(p.name) or on) <= on]


def ingest(
    source: Source,
    border: Border,
    now: datetime,
    on: date | None = None,
    days: Collection[date] | None = None,
) -> list[Receipt]:
    """Take in the waiting files of a source; returns the receipts written, in order.

    Args:
        source: its contract and adapter.
        border: landing folder, lake and keys.
        now: the clock that the receipts show, in UTC.
        on: the day of a replay, see `waiting`.
        days: only the files of these landing days.
    """
    sweep(border.lake)
    border.book.key_mark(border.keys.mark)
    border.check_key()
    files = waiting(source, border, on)
    if days is not None:
        files = [p for p in files if landing_day(source, p) in days]
    if not files:
        return []
    clock = _forward(now, border)
    committed = (ingest_file(path, source, border, clock) for path in files)
    return [receipt for receipt in committed if receipt]


def check_clock(on: date, clock: datetime, border: Border) -> None:
    """Refuse a replay that a later night could not be told apart from.

    Raises:
        ClockError: the day is not over yet in the real world, or something was taken in after it.
    """
    newest = max((r.ingested_at for r in border.book.all()), default=clock)
    if clock < newest:
        raise ClockError(
            f"this replay takes {on} for today, and something was taken in on {newest:%Y-%m-%d}: a replay only goes "
            "forward. Replay in an empty home (CREDITLOOM_HOME), or take the files in without --on"
        )
    if on > datetime.now(UTC).date():
        raise ClockError(f"{on} is in the future; a replay takes a past day, or today, for today")


def _forward(now: datetime, border: Border) -> datetime:
    """The clock, never behind what was taken in: a night is rebuilt by it, and must find what it saw and no more."""
    clock = now.astimezone(UTC).replace(tzinfo=None) if now.tzinfo else now
    return max((clock, *(r.ingested_at for r in border.book.all())))


def strays(border: Border, sources: Iterable[str]) -> list[str]:
    """Files in the landing folder that no source will ever take in, by their path below it."""
    known = set(sources)
    files = [p.relative_to(border.landing) for p in border.landing.rglob("*") if p.is_file()]
    return sorted(str(p) for p in files if len(p.parts) != 2 or p.parts[0] not in known)


def landing_day(source: Source, path: Path) -> date:
    """The partition of a file that waits: the day that its name tells, or on which it came."""
    return source.contract.landing_day(path.name, datetime.fromtimestamp(path.stat().st_ctime, UTC).date())


def ingest_file(path: Path, source: Source, border: Border, now: datetime) -> Receipt | None:
    """Take in one file. None if it is only the leftover of a crash between its receipt and its archiving."""
    content = path.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    leftover = border.book.unarchived(source.name, sha256, path.name)
    if leftover is not None:
        _archive(path, sha256, leftover, source.name, border)
        return None
    earlier = border.book.find(source.name, sha256, source.contract.version)
    if earlier:
        receipt = _duplicate(earlier, path.name, now)
    else:
        receipt = _take_in(path.name, content, sha256, source, border, now)
    _archive(path, sha256, border.book.commit(receipt), source.name, border)
    return receipt


def _take_in(file_name: str, content: bytes, sha256: str, source: Source, border: Border, now: datetime) -> Receipt:
    contract = source.contract
    blank = Receipt(
        source=source.name,
        delivery_id=sha256[:16],
        sha256=sha256,
        file_name=file_name,
        state=State.QUARANTINED,
        contract_version=contract.version,
        ingested_at=now.replace(tzinfo=None),
        **dict.fromkeys(_COUNTS, 0),
        reason=None,
        files=(),
    )
    layout = contract.layout_of(file_name)
    try:
        if layout is None:
            patterns = ", ".join(known.file_pattern for known in contract.layouts)
            lines = max(content.count(b"\n") - 1, 0)
            raise DeliveryRefusedError("unknown_file", f"no layout is for this name; there are {patterns}", lines)
        records = read_records(content, layout)
    except DeliveryRefusedError as refused:
        reason = f"{refused.rule}: {refused.message}"
        return replace(blank, landed_rows=refused.lines, quarantined_rows=refused.lines, reason=reason)

    amounts = _control_amounts(records, layout)
    if layout.delivered_once and _has_accepted(border, source, layout):
        reason = f"unexpected_delivery: {layout.name} comes once; another file of it, with other content, was accepted"
        lines, minor = records.landed, _minor(amounts)
        held = replace(blank, landed_rows=lines, quarantined_rows=lines, landed_minor=minor, quarantined_minor=minor)
        return replace(held, reason=reason)

    checked = _limit_bad_share(check_rows(records.text, layout), records, border.max_bad_row_share)
    bad = _all_bad(checked, records)
    files = []
    if checked.good.height:
        files = _write_tables(layout.name, checked.good, source, border, blank)
    if bad.height:
        files.append(_write_quarantine(bad, records, border, blank))
    return replace(
        blank,
        state=State.ACCEPTED if not bad.height else State.PARTIAL if checked.good.height else State.QUARANTINED,
        landed_rows=records.landed,
        accepted_rows=_lines(records, _written_lines(border.lake, files)),
        quarantined_rows=_lines(records, bad),
        duplicate_rows=_lines(records, checked.duplicates),
        landed_minor=_minor(amounts),
        accepted_minor=_written_minor(border.lake, files, contract.control_table),
        quarantined_minor=_minor(amounts.join(bad, on=LINE_NO, how="semi")),
        duplicate_minor=_minor(amounts.join(checked.duplicates, on=LINE_NO, how="semi")),
        reason=f"{bad.height} rows broke {bad['rule'].n_unique()} rule(s)" if bad.height else None,
        files=tuple(files),
    )


def _has_accepted(border: Border, source: Source, layout: Table) -> bool:
    """Whether a file of this layout was accepted, in whole or in part."""
    accepted = [r for r in border.book.all(source.name) if r.state in (State.ACCEPTED, State.PARTIAL)]
    return any(source.contract.layout_of(r.file_name) == layout for r in accepted)


def _duplicate(original: Receipt, file_name: str, now: datetime) -> Receipt:
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


def _limit_bad_share(checked: Checked, records: Records, limit: float) -> Checked:
    """Above the limit the whole delivery is bad: a file that is wrong in many rows is not trusted in the others."""
    wrong = _lines(records, checked.bad) + int(records.ragged[LINES].sum())
    if wrong <= limit * records.landed:
        return checked
    message = f"{wrong} of {records.landed} lines break rules, more than {limit:.1%}: the whole file is held back"
    rest = checked.good.select(LINE_NO, pl.lit("too_many_bad_rows").alias("rule"), pl.lit(message).alias("message"))
    return Checked(checked.good.clear(), pl.concat([checked.bad, rest]).sort(LINE_NO), checked.duplicates)


def _all_bad(checked: Checked, records: Records) -> pl.DataFrame:
    ragged = records.ragged.select(
        LINE_NO, pl.lit("ragged").alias("rule"), pl.lit("the row has another number of fields").alias("message")
    )
    return pl.concat([checked.bad, ragged]).sort(LINE_NO)


def _write_tables(layout: str, good: pl.DataFrame, source: Source, border: Border, receipt: Receipt) -> list[LakeFile]:
    made = source.adapt(layout, good, source.contract)
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


def _write_quarantine(bad: pl.DataFrame, records: Records, border: Border, receipt: Receipt) -> LakeFile:
    """Bad rows with rule and message in the clear and the record, as it was delivered, sealed."""
    kept = bad.join(_places(records), on=LINE_NO, how="left")
    sealed = [
        border.keys.seal(records.raw_record(line, lines), f"{receipt.delivery_id}:{line}")
        for line, lines in kept.select(LINE_NO, LINES).iter_rows()
    ]
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


def _written_lines(lake: Path, files: list[LakeFile]) -> pl.DataFrame:
    """Distinct delivered lines that stand in the written raw files: read back, not remembered."""
    written = [pl.scan_parquet(lake / f.path).select(LINE_NO) for f in files if f.table != "quarantine"]
    return pl.concat(written).unique().collect() if written else pl.DataFrame(schema={LINE_NO: pl.Int64})


def _written_minor(lake: Path, files: list[LakeFile], control: Table) -> int:
    """The control amount that stands in the written raw files, in minor units."""
    paths = [lake / f.path for f in files if f.table == control.name]
    if not paths:
        return 0
    return _minor(pl.scan_parquet(paths).select(pl.col(control.control[0]).cast(_TOTAL).alias("amount")).collect())


def _archive(path: Path, sha256: str, receipt_no: int, source: str, border: Border) -> None:
    """Move the original out of the landing folder, under its hash and for its owner only; then say so."""
    folder = border.lake / "originals" / source
    folder.mkdir(parents=True, exist_ok=True)
    path.chmod(0o600)
    path.replace(folder / f"{sha256}{path.suffix}")
    border.book.mark_archived(receipt_no)
