"""Code that parses contracts into frozen dataclasses and checks them.

A contract is a YAML file that follows version 3 of the Open Data Contract Standard (ODCS). Its `file` objects describe
the layouts of delivered files. Its `table` objects describe the canonical raw tables that the adapter builds from these
files. The Polars schemas, the row rules, the list of pseudonymised columns and the checks of the raw tables are all
derived from the contract.
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
DONE = ".done"  # suffix of a manifest's file name
# ODCS writes date formats as Java does; Python's strptime needs the values.
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
    """A contract is invalid, or the output of an adapter differs from its contract.

    The message names the contract, and the object and column concerned, if there is one.
    """


@dataclass(frozen=True)
class Column:
    """A column of a layout or of a canonical table, with its type and the rules for its values.

    `key` is True for a column of the primary key. `origin` and `constant` are set only in canonical tables of contracts
    without an adapter module. If `origin` is set, the values come from the delivered column with this name. If
    `constant` is set, all values are equal to it.
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
        """Return whether the column contains amounts of money.

        Amounts are read as text and stored as DECIMAL(18, 2), never as floating point numbers.
        """
        return self.dtype == MONEY


@dataclass(frozen=True)
class Table:
    """The layout of a delivered file, or a canonical table.

    `control` has the names of the columns that make up the control amount. The sum of these columns in a layout must
    equal the sum of the control column in the canonical table, to the cent.

    Fields used only in layouts:
        `file_pattern`: the shell pattern that the file names match.
        `delivered_once`: True if only one file with this layout is ever accepted.
        `month_in_name`, `day_in_name`: the strptime format of the file name without its suffix, if the name contains
            the reported month or day; otherwise None.
        `manifest`: True if a file is complete only once its manifest exists.

    Fields used only in canonical tables, and only if the source has no adapter module:
        `made_from`: the name of the layout that the columns come from.
        `event_on`: the date column of the layout with the day of the event.
        `known_on`: the date column of the layout with the day on which the row was known; None if it is `event_on`.
        `corrections`: True if a row whose key is already in the lake, but whose content differs, is accepted as a new
            version. If False, the row is a conflict.
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
        """Return the Polars type of each column, in the order of the contract."""
        return {c.name: c.dtype for c in self.columns}

    @property
    def key(self) -> tuple[str, ...]:
        """Return the names of the columns of the primary key."""
        return tuple(c.name for c in self.columns if c.key)


@dataclass(frozen=True)
class PackagedFile:
    """A file for ingestion that an installed Python distribution contains.

    `distribution` is the name of the distribution. `path` is the end of the file's path in it.
    """

    distribution: str
    path: str


@dataclass(frozen=True)
class Contract:
    """The contract of one source, with the layouts of its files and its canonical tables.

    `known_at_lag_days` is the number of days from an event until the lender knows it. `packaged` is the file that a
    Python distribution contains for this source, or None if there is no such file.
    """

    source: str
    version: str
    title: str
    currency: str
    known_at_lag_days: int
    layouts: tuple[Table, ...]
    tables: tuple[Table, ...]
    packaged: PackagedFile | None = None

    def table(self, name: str) -> Table:
        """Return the canonical table with this name, which must be in the contract."""
        return next(t for t in self.tables if t.name == name)

    def layout_of(self, file_name: str) -> Table | None:
        """Return the first layout whose pattern matches the file name, without regard to `.gz` or `.zip`.

        Returns None if the file is a manifest, or if no layout matches.
        """
        name = unpacked_name(file_name)
        if name.endswith(DONE):
            return None
        return next((layout for layout in self.layouts if fnmatchcase(name, layout.file_pattern)), None)

    def arrives_on(self, file_name: str) -> dt.date | None:
        """Return the day on which a file arrives, as implied by the date in its name.

        This is the day in the name, or the last day of the month in the name, plus the contract's lag. Returns None if
        the name contains no valid date, or if no layout matches the name.
        """
        layout = self.layout_of(file_name)
        name_format = (layout.day_in_name or layout.month_in_name) if layout else None
        if layout is None or name_format is None:
            return None
        try:
            reported = dt.datetime.strptime(unpacked_name(file_name).rpartition(".")[0], name_format).date()
        except ValueError:
            return None  # no valid date, for example 2017-13; the rows of the file decide
        if layout.day_in_name is None:  # the name gives a month: use its last day
            reported = (reported.replace(day=1) + dt.timedelta(days=32)).replace(day=1) - dt.timedelta(days=1)
        return known_at(reported, self)

    def landing_day(self, file_name: str, seen_on: dt.date) -> dt.date:
        """Return the landing day of a file, which is its Dagster partition.

        This is the day of arrival that the file name implies. If the name implies none, it is `seen_on`.
        """
        return self.arrives_on(file_name) or seen_on

    @property
    def control_table(self) -> Table:
        """Return the canonical table that has the control column.

        The sum of this column must equal the sum of the control columns in the delivered files.
        """
        return next(t for t in self.tables if t.control)


def load_contract(path: Path) -> Contract:
    """Read a contract file and check it.

    Raises:
        ContractError: the file is not an ODCS file, or a property that ingestion needs is missing, or the contract
            breaks a rule of this project.
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
        raise ContractError(f"{path}: {item.name}: controlAmount names {sorted(unknown)}, which are not amount columns")
    if not any(c.key for c in columns):
        raise ContractError(f"{path}: {item.name}: no column is marked primaryKey")
    own = _custom(item.customProperties)
    for name in ("monthInName", "dayInName"):
        if "%" not in own.get(name, "%"):
            raise ContractError(f"{path}: {item.name}: {name} is {own[name]!r}, which has no date format such as %Y-%m")
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
    """Return the name if `names` contains exactly one distinct name; otherwise return None."""
    distinct = set(names)
    return distinct.pop() if len(distinct) == 1 else None


def _check_canonical(path: Path, table: Table) -> None:
    """Check that a table and its columns are canonical, and that no needed column is missing.

    Raises:
        ContractError: at least one of these is true:
            - The table is not a canonical table.
            - The table lacks a column that every row needs.
            - A column is not a canonical column of this table, or has another type.
            - The classification of a column is not allowed.
    """
    if table.name not in NEEDED:
        raise ContractError(f"{path}: {table.name} is not a canonical table; they are {', '.join(NEEDED)}")
    canonical = CANONICAL[table.name]
    missing = sorted(set(NEEDED[table.name]) - set(table.schema))
    if missing:
        raise ContractError(f"{path}: {table.name} lacks {', '.join(missing)}, which every row needs")
    for column in table.columns:
        _check_class(path, table, column)
        if column.name not in canonical or canonical[column.name][0] != column.dtype:
            raise ContractError(f"{path}: {table.name}.{column.name} is not a canonical column, or has another type")


def _check_class(path: Path, table: Table, column: Column) -> None:
    """Check that the classification of a canonical column is allowed.

    Columns of pseudonyms must be identifiers. Personal columns are not allowed. Sensitive columns are allowed only in
    the table for fairness monitoring.

    Raises:
        ContractError: the classification is not allowed.
    """
    where = f"{path}: {table.name}.{column.name}"
    if column.name in PSEUDONYMS and column.classification != "identifier":
        raise ContractError(f"{where} must have the classification 'identifier', so that it is pseudonymised")
    if column.classification == "personal":
        raise ContractError(f"{where} is personal: personal values never enter the lake; leave the column out")
    if column.classification == "sensitive" and table.name != FAIRNESS:
        raise ContractError(f"{where} is sensitive: only {FAIRNESS} may hold sensitive values, for fairness monitoring")


def _check_origins(path: Path, table: Table, layouts: Mapping[str, Table]) -> None:
    """Check that each canonical column has a classification that suits the delivered column it comes from.

    A personal column must not enter the lake. An identifier must stay an identifier. A sensitive column must stay
    sensitive or become an identifier.

    Raises:
        ContractError: a column breaks one of these rules.
    """
    layout = layouts.get(table.made_from or "")
    delivered = {c.name: c.classification for c in layout.columns} if layout else {}
    for column in table.columns:
        was, becomes = delivered.get(column.origin or "", "none"), column.classification
        if was == "personal" or (was in ("identifier", "sensitive") and becomes not in (was, "identifier")):
            raise ContractError(
                f"{path}: {table.name}.{column.name} would bring {table.made_from}.{column.origin} into the lake, "
                f"which is {was}: " + ("leave it out" if was == "personal" else "give it the same classification")
            )


def _check_agreement(path: Path, tables: Iterable[Table]) -> None:
    """Check that columns with the same name are identifiers in all tables or in none.

    A column that is pseudonymised in only some tables could not be used to join the tables.

    Raises:
        ContractError: a column is an identifier in some tables, but not in all.
    """
    classes: dict[str, set[bool]] = {}
    for column in (c for table in tables for c in table.columns):
        classes.setdefault(column.name, set()).add(column.classification == "identifier")
    if mixed := sorted(name for name, found in classes.items() if len(found) > 1):
        raise ContractError(f"{path}: {', '.join(mixed)}: classified as identifier in some tables, but not in all")


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
        raise ContractError(f"{where}: unknown classification {classification!r}")
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
    """Return the name of a delivered file without the suffix `.gz` or `.zip`, if it has one."""
    return file_name.removesuffix(".gz").removesuffix(".zip")


def known_at(event_on: dt.date, contract: Contract) -> dt.date:
    """Return the first day on which the lender could know an event: `event_on` plus the contract's lag."""
    return event_on + dt.timedelta(days=contract.known_at_lag_days)
