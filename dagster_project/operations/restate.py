"""Comparison of a month as first reported with the same month as known now.

Both versions are rebuilt from the lake in a temporary home. Both use today's code and policy, so that every difference
comes from rows that arrived after the first report. A night may run at the same time, because neither the warehouse nor
the published snapshots are changed.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta

import duckdb
import polars as pl

from dagster_project.home.locks import home_lock
from dagster_project.home.settings import Settings
from dagster_project.ingestion.lake.files import select
from dagster_project.ingestion.lake.receipts import Receipt
from dagster_project.night.pipeline import Pipeline
from dagster_project.reporting.month_comparison import (
    MONTH,
    ROW,
    MonthComparison,
    Reported,
    changed_loans,
    changes,
    compare_month,
)
from dagster_project.warehouse.runner import DbtError, run_dbt

_MONTHS = "intermediate.int_loan_months"
_BUILD = ("run", "--quiet", "--full-refresh", "--select", "+int_loan_months")


@dataclass(frozen=True)
class _Part:
    """A raw table that loan months are built from.

    Attributes:
        table: the name of the table.
        columns: the columns that affect loan months.
        moves: an SQL condition for the rows that may affect the month `$month_on`.
        reports: whether a row of the table shows that the source has reported the months before the row's date.
    """

    table: str
    columns: tuple[str, ...]
    moves: str = "true"
    reports: bool = True


_LOANS = _Part("loans", ("opened_on", "original_amount", "limit_amount", "instalment", "opening_balance"))
_SCHEDULES = _Part("schedules", ("due_on", "amount", "principal", "interest"), "valid_from <= $month_on")
_PAYMENTS = _Part("payments", ("paid_on", "amount"), "paid_on <= $month_on")
_EVENTS = _Part(
    "loan_events", ("kind", "occurred_on"), "kind = 'write_off' and occurred_on <= $month_on", reports=False
)
_REPORTED = ("balance", "limit_amount", "due", "paid", "principal", "status_code")
_MADE_OF: dict[str, tuple[_Part, ...]] = {
    "ledger": (_LOANS, _SCHEDULES, _PAYMENTS, _EVENTS),
    # All earlier months count, because the amount due is imputed from them.
    "imputed": (_LOANS, _Part("statements", _REPORTED, "month_on <= $month_on")),
    "status": (_Part("statements", _REPORTED, "month_on = $month_on"),),
}
_SHOWN_CLASSES = ("none", "financial")

# Called before each step with its description.
Progress = Callable[[str], None]


def restate_month(pipeline: Pipeline, source: str, month_on: date, progress: Progress) -> MonthComparison | None:
    """Compare a month of one source as first reported with the same month as known now.

    `month_on` is the month-end. `progress` is called before each step.

    Returns:
        The comparison; None if the source never reported the month.

    Raises:
        NightRunningError: another comparison is running in this home.
        LakeCorruptionError: a lake file is missing, or differs from its receipt.
        DbtError: dbt failed to build the loan months.
    """
    receipts = [r for r in pipeline.receipts(source) if r.files]
    with _private_home(pipeline) as private:

        def read(seen: list[Receipt]) -> None:
            select(pipeline.settings.lake, private.selection, source, seen)

        progress(f"{source}: reading the lake")
        read(receipts)
        raw = _Raw(pipeline, source, private)
        reported = raw.reported(month_on)
        if reported is None:
            return None
        before = [r for r in receipts if r.ingested_at <= reported.taken_in_by]
        progress(f"{source}: {month_on:%Y-%m} as first reported")
        read(before)
        _build(pipeline, private)
        then = _month(private, source, month_on, reported)
        if before != receipts:  # otherwise both versions of the month are the same
            progress(f"{source}: {month_on:%Y-%m} as known now")
            read(receipts)
            _build(pipeline, private)
        now = _month(private, source, month_on)
        rows = raw.known_since(month_on, reported, changed_loans(then, now)["loan_id"], _file_names(receipts))
    return compare_month(source, month_on, reported, then, now, rows)


@contextmanager
def _private_home(pipeline: Pipeline) -> Iterator[Settings]:
    """Yield the settings of a temporary home that is deleted when the block ends.

    The temporary home is inside the warehouse folder of the real home, and is empty at first.

    Raises:
        NightRunningError: another comparison is running in this home.
    """
    settings = pipeline.settings
    home = settings.warehouse / "restate"
    with home_lock(settings.home, "restate"):
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        try:
            private = Settings(**settings.model_dump() | {"home": home})
            private.warehouse.mkdir()
            yield private
        finally:
            shutil.rmtree(home)


def _build(pipeline: Pipeline, private: Settings) -> None:
    """Build the loan months in the temporary home from the lake files that were selected for it.

    Raises:
        DbtError: dbt failed. The message contains dbt's own output.
    """
    done = run_dbt(private, pipeline.policy, _BUILD, quiet=True)
    if done.returncode:
        raise DbtError(f"dbt cannot build the loan months:\n{done.stdout}{done.stderr}")


def _month(private: Settings, source: str, month_on: date, reported: Reported | None = None) -> pl.DataFrame:
    """Read one version of a month from the temporary warehouse.

    The result has one row per loan, with `loan_id` and the `MONTH` columns. If `reported` is None or
    `reported.as_newest` is true, it is the newest version of the month. Otherwise it is the version that was known on
    `reported.observed_on`.
    """
    version = "superseded_on is null"
    values: list[object] = [source, month_on]
    if reported and not reported.as_newest:
        version = "known_on <= ? and (superseded_on is null or superseded_on > ?)"
        values += [reported.observed_on, reported.observed_on]
    query = f"select loan_id, {', '.join(MONTH)} from {_MONTHS} where source = ? and month_on = ? and {version}"  # noqa: S608
    with duckdb.connect(str(private.warehouse_file), read_only=True) as db:
        found: pl.DataFrame = db.sql(query, params=values).pl()
    return found


def _file_names(receipts: list[Receipt]) -> pl.DataFrame:
    names = {r.delivery_id: r.file_name for r in reversed(receipts)}
    return pl.DataFrame(
        {"delivery_id": list(names), "file": list(names.values())}, schema_overrides={"file": pl.String}
    )


class _Raw:
    """The raw rows from which the loan months of one source are built."""

    def __init__(self, pipeline: Pipeline, source: str, private: Settings) -> None:
        policy = pipeline.policy.sources[source]
        self._contract = pipeline.sources[source].contract
        self._lag = timedelta(days=policy.feature_lag_days)
        self._is_ledger = policy.arrears_basis == "ledger"
        has = {table.name for table in self._contract.tables}
        self._parts = [part for part in _MADE_OF[policy.arrears_basis] if part.table in has]
        self._folder, self._memory = private.selection / source, private.duckdb_memory

    def reported(self, month_on: date) -> Reported | None:
        """Return when the source first reported a month, or None if it never did.

        If days past due come from a ledger, the month counts as reported when the first row arrives that is known on or
        after the month's observation day (the month-end plus the feature lag). For other sources, it counts as reported
        when the first statement of this month or a later month arrives.
        """
        lag = self._lag if self._is_ledger else timedelta()
        parts = [part for part in self._parts if part.reports]
        day, tables = ("known_at", parts) if self._is_ledger else ("month_on", parts[-1:])
        known_days = " union all ".join(f"select {day} as day, ingested_at from {self._files(p.table)}" for p in tables)  # noqa: S608
        query = (
            f"with seen as ({known_days}), first as (select min(ingested_at) as began from seen where day >= $day)"  # noqa: S608
            " select began, (select max(day) from seen where ingested_at <= began) from first"
        )
        ((taken_in_by, newest),) = self._query(query, day=month_on + lag).iter_rows()
        if taken_in_by is None:
            return None
        return Reported(
            taken_in_by, month_on + self._lag, as_newest=newest < month_end(month_on + timedelta(days=1)) + lag
        )

    def known_since(self, month_on: date, reported: Reported, loans: pl.Series, files: pl.DataFrame) -> pl.DataFrame:
        """Return the rows that explain why the month of the given loans changed, with the columns of `ROW`.

        These are the rows of the loans that may affect the month and that were not known when the month was first
        reported. `files` contains the file name of each delivery.
        """
        found = [self._changes(part, month_on, reported, loans, files) for part in self._parts]
        return pl.concat([pl.DataFrame(schema=ROW), *found])

    def _changes(
        self, part: _Part, month_on: date, reported: Reported, loans: pl.Series, files: pl.DataFrame
    ) -> pl.DataFrame:
        table = self._contract.table(part.table)
        shown = [c.name for c in table.columns if c.name in part.columns and c.classification in _SHOWN_CLASSES]
        was_known = f"ingested_at <= $taken_in_by{'' if reported.as_newest else ' and known_at <= $observed_on'}"
        same_key = " and ".join(f"k.{c} is not distinct from r.{c}" for c in table.key)
        # Read all versions of a row if one of them may change the month: a correction may change the loan or the month.
        query = (
            f"with rows as (select *, {was_known} as known_then from {self._files(part.table)}),"  # noqa: S608
            f" keys as (select {', '.join(table.key)} from rows"
            f" where loan_id in (select loan_id from loans) and {part.moves}),"
            f" versions as (select * from rows as r where exists (select 1 from keys as k where {same_key}))"
            " select * from versions as r where not known_then"
            f" or exists (select 1 from versions as k where not k.known_then and {same_key})"
        )
        values = {"month_on": month_on, "taken_in_by": reported.taken_in_by, "observed_on": reported.observed_on}
        values = {name: value for name, value in values.items() if f"${name}" in query}
        rows = self._query(query, loans=loans.to_frame(), **values).join(files, on="delivery_id", how="left")
        return changes(part.table, rows, table.key, shown)

    def _files(self, table: str) -> str:
        return f"read_parquet('{self._folder}/{table}/*.parquet')"

    def _query(self, query: str, loans: pl.DataFrame | None = None, **values: object) -> pl.DataFrame:
        """Run an SQL query and return its result. If `loans` is given, the query can use it as the table `loans`."""
        with duckdb.connect(config={"memory_limit": self._memory}) as db:
            if loans is not None:
                db.register("loans", loans)
            found: pl.DataFrame = db.sql(query, params=values).pl()
        return found


def month_end(day: date) -> date:
    """Return the last day of the month that contains `day`."""
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1) - timedelta(days=1)
