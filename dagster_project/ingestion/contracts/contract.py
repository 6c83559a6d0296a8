"""Data contracts: Open Data Contract Standard (v3) files as frozen values.

A contract has `file` objects (what a platform drops) and `table` objects (the canonical raw tables that the adapter
makes of it). From it come the Polars schemas, the row rules, the pseudonymised columns, the raw checks and dbt's
source file: nothing repeats it by hand.
"""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import polars as pl
from open_data_contract_standard.model import OpenDataContractStandard, SchemaObject, SchemaProperty

from dagster_project.ingestion.contracts.canonical import CANONICAL, FAIRNESS, MONEY, NEEDED, PSEUDONYMS, RATE

Classification = Literal["identifier", "personal", "sensitive", "financial", "none"]

_DECIMALS = {"decimal(18,2)": MONEY, "decimal(9,6)": RATE}
DONE = ".done"  # the ending of a manifest's name
# ODCS names date formats as Java does.
_DATE_FORMATS = {"yyyy-MM-dd": "%Y-%m-%d", "MM-dd-yyyy": "%m-%d-%Y"}
_TYPES: dict[str, pl.DataType] = {
    "string": pl.String(),
    "integer": pl.Int32(),
    "number": pl.Float64(),
    "boolean": pl.Boolean(),
    "date": pl.Date(),
    "timestamp": pl.Datetime("us"),
}


class ContractError(ValueError):
    """A contract, or what an adapter made of it, is not usable. The message names file, object and column."""


@dataclass(frozen=True)
class Column:
    """One column: its type and the rules that a value must meet.

    `origin` and `constant` (of a canonical column in a contract without adapter): the delivered column it is, or its
    one value.
    """

    name: str
    dtype: pl.DataType
    description: str
    required: bool
    key: bool
    classification: Classification
    minimum: float | None = None
    maximum: float | None = None
    pattern: str | None = None
    documented_values: tuple[Any, ...] = ()
    date_format: str = "%Y-%m-%d"
    origin: str | None = None
    constant: str | None = None

    @property
    def is_money(self) -> bool:
        """Whether values are amounts: read as text, kept as DECIMAL(18, 2), never as floating point."""
        return self.dtype == MONEY


@dataclass(frozen=True)
class Table:
    """A delivered file's layout or a canonical table. `control` columns are summed for the cents identity.

    Of a layout: `file_pattern` says which file names it is for, `delivered_once` that there is only one such file, and
    `month_in_name` or `day_in_name` how its name gives the month or day that it reports (as strptime reads the name
    without its ending); `manifest`, that a file is whole once its manifest is there.
    Of a canonical table without adapter: `made_from` is its layout, `event_on` the date column there, `known_on` a date
    column that tells when a row was known, where that is not `event_on`, and `corrections`, that a row which comes
    again with other content is a new version.
    """

    name: str
    description: str
    columns: tuple[Column, ...]
    control: tuple[str, ...]
    file_pattern: str = "*"
    delivered_once: bool = False
    month_in_name: str | None = None
    day_in_name: str | None = None
    made_from: str | None = None
    event_on: str | None = None
    known_on: str | None = None
    manifest: bool = False
    corrections: bool = False

    @cached_property
    def schema(self) -> dict[str, pl.DataType]:
        """Polars schema in the contract's order."""
        return {c.name: c.dtype for c in self.columns}

    @property
    def key(self) -> tuple[str, ...]:
        """Names of the primary key's columns."""
        return tuple(c.name for c in self.columns if c.key)


@dataclass(frozen=True)
class PackagedFile:
    """A delivery that a Python distribution ships: which distribution, and the end of the file's path in it."""

    distribution: str
    path: str


@dataclass(frozen=True)
class Contract:
    """One source: what it delivers, the canonical tables, and when a lender could know a row."""

    source: str
    version: str
    title: str
    currency: str
    known_at_lag_days: int
    layouts: tuple[Table, ...]
    tables: tuple[Table, ...]
    packaged: PackagedFile | None = None

    def table(self, name: str) -> Table:
        """The canonical table of this name."""
        return next(t for t in self.tables if t.name == name)

    def layout_of(self, file_name: str) -> Table | None:
        """The layout of a delivered file by its name, if it has one; a manifest has none."""
        name = unpacked_name(file_name)
        if name.endswith(DONE):
            return None
        return next((layout for layout in self.layouts if fnmatchcase(name, layout.file_pattern)), None)

    def arrives_on(self, file_name: str) -> dt.date | None:
        """The day on which a file arrives, where its name tells the month or day that it reports; else None."""
        layout = self.layout_of(file_name)
        written = (layout.day_in_name or layout.month_in_name) if layout else None
        if layout is None or written is None:
            return None
        try:
            reported = dt.datetime.strptime(unpacked_name(file_name).rpartition(".")[0], written).date()
        except ValueError:
            return None  # a name like 2017-13 tells no month; what the file holds decides about it
        if layout.day_in_name is None:  # the month's end
            reported = (reported.replace(day=1) + dt.timedelta(days=32)).replace(day=1) - dt.timedelta(days=1)
        return known_at(reported, self)

    def landing_day(self, file_name: str, seen_on: dt.date) -> dt.date:
        """The partition of a file: the day on which its name says that it arrives, or on which it was seen."""
        return self.arrives_on(file_name) or seen_on

    @property
    def control_table(self) -> Table:
        """The canonical table whose control column must add up to the delivered control columns."""
        return next(t for t in self.tables if t.control)


def load_contract(path: Path) -> Contract:
    """Read and check one contract file.

    Raises:
        ContractError: the file is not ODCS, or lacks something that ingestion needs.
    """
    try:
        odcs = OpenDataContractStandard.from_file(str(path))
    except (ValueError, TypeError) as error:
        raise ContractError(f"{path}: not an Open Data Contract Standard v3 file: {error}") from error
    own = _custom(odcs.customProperties)
    tables = [_table(path, o) for o in odcs.schema_ or [] if o.physicalType == "table"]
    files = [_table(path, o) for o in odcs.schema_ or [] if o.physicalType == "file"]
    if not files:
        raise ContractError(f"{path}: an object with physicalType 'file' is needed")
    for table in tables:
        _check_canonical(path, table)
        _check_origins(path, table, {layout.name: layout for layout in files})
    _check_agreement(path, tables)
    if [len(t.control) for t in tables if t.control] != [1]:
        raise ContractError(f"{path}: exactly one table must name one controlAmount column")
    for needed in ("currency", "knownAtLagDays"):
        if needed not in own:
            raise ContractError(f"{path}: customProperties lacks {needed!r}")
    packaged = own.get("packagedFile")
    return Contract(
        source=str(odcs.id),
        version=str(odcs.version),
        title=str(odcs.name),
        currency=own["currency"],
        known_at_lag_days=int(own["knownAtLagDays"]),
        layouts=tuple(files),
        tables=tuple(tables),
        packaged=PackagedFile(**packaged) if packaged else None,
    )


def _custom(properties: Any) -> Mapping[str, Any]:
    return {p.property: p.value for p in properties or []}


def _table(path: Path, item: SchemaObject) -> Table:
    columns = tuple(_column(path, item, p) for p in item.properties or [])
    control = _custom(item.customProperties).get("controlAmount", [])
    unknown = set(control) - {c.name for c in columns if c.is_money}
    if unknown:
        raise ContractError(f"{path}: {item.name}: controlAmount names {sorted(unknown)}, which are no amounts")
    if not any(c.key for c in columns):
        raise ContractError(f"{path}: {item.name}: no column is marked primaryKey")
    own = _custom(item.customProperties)
    for name in ("monthInName", "dayInName"):
        if "%" not in own.get(name, "%"):
            raise ContractError(f"{path}: {item.name}: {name} is {own[name]!r}, which has no date in it, such as %Y-%m")
    return Table(
        str(item.name),
        str(item.description or ""),
        columns,
        tuple(control),
        file_pattern=str(own.get("filePattern", "*")),
        delivered_once=bool(own.get("deliveredOnce", False)),
        month_in_name=own.get("monthInName"),
        day_in_name=own.get("dayInName"),
        made_from=_only(
            origin.split(".", 1)[0] for p in item.properties or [] for origin in p.transformSourceObjects or []
        ),
        event_on=own.get("eventOn"),
        known_on=own.get("knownOn"),
        manifest=bool(own.get("manifest", False)),
        corrections=bool(own.get("corrections", False)),
    )


def _only(names: Iterable[str]) -> str | None:
    """The one name that occurs, or None where there is none, or more than one."""
    found = set(names)
    return found.pop() if len(found) == 1 else None


def _check_canonical(path: Path, table: Table) -> None:
    """A table object may only choose from a canonical table's columns, with their types."""
    if table.name not in NEEDED:
        raise ContractError(f"{path}: {table.name} is no canonical table; there are {', '.join(NEEDED)}")
    canonical = CANONICAL[table.name]
    missing = sorted(set(NEEDED[table.name]) - set(table.schema))
    if missing:
        raise ContractError(f"{path}: {table.name} lacks {', '.join(missing)}, which every row of it needs")
    for column in table.columns:
        _check_class(path, table, column)
        if column.name not in canonical or canonical[column.name][0] != column.dtype:
            raise ContractError(f"{path}: {table.name}.{column.name} is no canonical column, or of another type")


def _check_class(path: Path, table: Table, column: Column) -> None:
    """What a canonical column may be: pseudonyms are identifiers, and what is personal stays outside of the border."""
    where = f"{path}: {table.name}.{column.name}"
    if column.name in PSEUDONYMS and column.classification != "identifier":
        raise ContractError(f"{where} must have the classification 'identifier': it is what makes it a pseudonym")
    if column.classification == "personal":
        raise ContractError(f"{where} is personal: such values never pass the border; leave the column out")
    if column.classification == "sensitive" and table.name != FAIRNESS:
        raise ContractError(f"{where} is sensitive: only {FAIRNESS} may hold such values, to monitor fairness")


def _check_origins(path: Path, table: Table, layouts: Mapping[str, Table]) -> None:
    """A canonical column is of the class of the delivered column that it is made from, or becomes a pseudonym."""
    layout = layouts.get(table.made_from or "")
    delivered = {c.name: c.classification for c in layout.columns} if layout else {}
    for column in table.columns:
        was, becomes = delivered.get(column.origin or "", "none"), column.classification
        if was == "personal" or (was in ("identifier", "sensitive") and becomes not in (was, "identifier")):
            raise ContractError(
                f"{path}: {table.name}.{column.name} would carry {table.made_from}.{column.origin} past the border, "
                f"which is {was}: " + ("leave it out" if was == "personal" else "give it that classification too")
            )


def _check_agreement(path: Path, tables: Iterable[Table]) -> None:
    """A column that is a pseudonym in one table and not in another could not be joined."""
    classes: dict[str, set[bool]] = {}
    for column in (c for table in tables for c in table.columns):
        classes.setdefault(column.name, set()).add(column.classification == "identifier")
    if mixed := sorted(name for name, found in classes.items() if len(found) > 1):
        raise ContractError(f"{path}: {', '.join(mixed)} must be of the class identifier in all tables, or in none")


def _column(path: Path, item: SchemaObject, prop: SchemaProperty) -> Column:
    where = f"{path}: {item.name}.{prop.name}"
    options = prop.logicalTypeOptions or {}
    if prop.physicalType in _DECIMALS:
        dtype: pl.DataType = _DECIMALS[prop.physicalType]
    elif prop.logicalType in _TYPES:
        dtype = _TYPES[prop.logicalType]
    else:
        raise ContractError(f"{where}: logicalType {prop.logicalType!r} is not one of {sorted(_TYPES)}")
    classification = prop.classification or "none"
    if classification not in Classification.__args__:  # type: ignore[attr-defined]
        raise ContractError(f"{where}: classification {classification!r} is not known")
    date_format = options.get("format", "yyyy-MM-dd")
    if date_format not in _DATE_FORMATS:
        raise ContractError(f"{where}: date format {date_format!r} is not one of {sorted(_DATE_FORMATS)}")
    return Column(
        name=str(prop.name),
        dtype=dtype,
        description=str(prop.description or ""),
        required=bool(prop.required or prop.primaryKey),
        key=bool(prop.primaryKey),
        classification=classification,  # type: ignore[arg-type]
        minimum=options.get("minimum"),
        maximum=options.get("maximum"),
        pattern=options.get("pattern"),
        documented_values=tuple(e.value for e in prop.enum or []),
        date_format=_DATE_FORMATS[date_format],
        origin=_only(origin.split(".", 1)[-1] for origin in prop.transformSourceObjects or []),
        constant=prop.transformLogic.strip("'") if prop.transformLogic else None,
    )


def unpacked_name(file_name: str) -> str:
    """The name of a delivery without the ending that says how it is packed."""
    return file_name.removesuffix(".gz").removesuffix(".zip")


def known_at(event_on: dt.date, contract: Contract) -> dt.date:
    """The day on which the lender could know what happened on `event_on`, by the contract's stated lag."""
    return event_on + dt.timedelta(days=contract.known_at_lag_days)
