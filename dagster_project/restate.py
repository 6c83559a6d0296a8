"""A month as it was reported and as it is known now, from the lake: both sides are computed anew, in a private place.

Both by today's code and policy, so that a difference is one of what was known and of nothing else. A night may run
meanwhile: neither the warehouse nor what is published is touched.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta

import duckdb
import polars as pl

from dagster_project.alone import alone_in
from dagster_project.dbt_project import DbtError, run_dbt
from dagster_project.ingestion.lake import select
from dagster_project.ingestion.receipts import Receipt
from dagster_project.reporting.restatement import MONTH, ROW, Reported, Restatement, changed_loans, changes, restate
from dagster_project.resources import Pipeline
from dagster_project.settings import Settings

_MONTHS = "intermediate.int_loan_months"
_BUILD = ("run", "--quiet", "--full-refresh", "--select", "+int_loan_months")


@dataclass(frozen=True)
class _Part:
    """A raw table that loan months are made of: the columns that count, and which rows may move a month (in SQL).

    `reports`: what is known of a day in it says that the months before have been reported.
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
    # What was due is imputed from the months before.
    "imputed": (_LOANS, _Part("statements", _REPORTED, "month_on <= $month_on")),
    "status": (_Part("statements", _REPORTED, "month_on = $month_on"),),
}
_SHOWN_CLASSES = ("none", "financial")

# Called before each step with what it is about.
Progress = Callable[[str], None]


def restate_month(pipeline: Pipeline, source: str, month_on: date, progress: Progress) -> Restatement | None:
    """A source's month before and now; None where the source has not reported it.

    Raises:
        NightRunningError: another restatement is running in this home.
        LakeCorruptionError: a file of the lake is not what its receipt says.
        DbtError: the months cannot be built.
    """
    receipts = [r for r in pipeline.receipts(source) if r.files]
    with _private(pipeline) as place:

        def read(seen: list[Receipt]) -> None:
            select(pipeline.settings.lake, place.selection, source, seen)

        progress(f"{source}: reading the lake")
        read(receipts)
        raw = _Raw(pipeline, source, place)
        reported = raw.reported(month_on)
        if reported is None:
            return None
        before = [r for r in receipts if r.ingested_at <= reported.taken_in_by]
        progress(f"{source}: {month_on:%Y-%m} as it was reported")
        read(before)
        _build(pipeline, place)
        then = _month(place, source, month_on, reported)
        if before != receipts:  # the same rows give the same months
            progress(f"{source}: {month_on:%Y-%m} as it is known now")
            read(receipts)
            _build(pipeline, place)
        now = _month(place, source, month_on)
        rows = raw.known_since(month_on, reported, changed_loans(then, now)["loan_id"], _file_names(receipts))
    return restate(source, month_on, reported, then, now, rows)


@contextmanager
def _private(pipeline: Pipeline) -> Iterator[Settings]:
    """The settings of a home of its own, whose lake files are links; nothing of it stays."""
    settings = pipeline.settings
    home = settings.warehouse / "restate"
    with alone_in(settings.home, "restate"):
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        try:
            place = Settings(**settings.model_dump() | {"home": home})
            place.warehouse.mkdir()
            yield place
        finally:
            shutil.rmtree(home)


def _build(pipeline: Pipeline, place: Settings) -> None:
    """Build the loan months of what is selected.

    Raises:
        DbtError: in dbt's own words.
    """
    done = run_dbt(place, pipeline.policy, _BUILD, quiet=True)
    if done.returncode:
        raise DbtError(f"dbt cannot build the loan months:\n{done.stdout}{done.stderr}")


def _month(place: Settings, source: str, month_on: date, reported: Reported | None = None) -> pl.DataFrame:
    """A month's row of each loan: the newest, or, of a month that was never reported as the newest, that of its day."""
    version = "superseded_on is null"
    values: list[object] = [source, month_on]
    if reported and not reported.as_newest:
        version = "known_on <= ? and (superseded_on is null or superseded_on > ?)"
        values += [reported.observed_on, reported.observed_on]
    query = f"select loan_id, {', '.join(MONTH)} from {_MONTHS} where source = ? and month_on = ? and {version}"  # noqa: S608
    with duckdb.connect(str(place.warehouse_file), read_only=True) as db:
        found: pl.DataFrame = db.sql(query, params=values).pl()
    return found


def _file_names(receipts: list[Receipt]) -> pl.DataFrame:
    names = {r.delivery_id: r.file_name for r in reversed(receipts)}
    return pl.DataFrame(
        {"delivery_id": list(names), "file": list(names.values())}, schema_overrides={"file": pl.String}
    )


class _Raw:
    """The raw rows of one source that its loan months are made of."""

    def __init__(self, pipeline: Pipeline, source: str, place: Settings) -> None:
        policy = pipeline.policy.sources[source]
        self._contract = pipeline.sources[source].contract
        self._lag = timedelta(days=policy.feature_lag_days)
        self._is_ledger = policy.arrears_basis == "ledger"
        has = {table.name for table in self._contract.tables}
        self._parts = [part for part in _MADE_OF[policy.arrears_basis] if part.table in has]
        self._folder, self._memory = place.selection / source, place.duckdb_memory

    def reported(self, month_on: date) -> Reported | None:
        """When the month was first reported, if it was.

        A ledger reports a month once something is known of the day on which it is observed, others with its statements.
        """
        lag = self._lag if self._is_ledger else timedelta()
        parts = [part for part in self._parts if part.reports]
        day, tables = ("known_at", parts) if self._is_ledger else ("month_on", parts[-1:])
        told = " union all ".join(f"select {day} as day, ingested_at from {self._files(p.table)}" for p in tables)  # noqa: S608
        query = (
            f"with told as ({told}), first as (select min(ingested_at) as began from told where day >= $day)"  # noqa: S608
            " select began, (select max(day) from told where ingested_at <= began) from first"
        )
        ((taken_in_by, newest),) = self._query(query, day=month_on + lag).iter_rows()
        if taken_in_by is None:
            return None
        return Reported(
            taken_in_by, month_on + self._lag, as_newest=newest < month_end(month_on + timedelta(days=1)) + lag
        )

    def known_since(self, month_on: date, reported: Reported, loans: pl.Series, files: pl.DataFrame) -> pl.DataFrame:
        """The rows of these loans that may move the month and were not known when it was reported."""
        found = [self._changes(part, month_on, reported, loans, files) for part in self._parts]
        return pl.concat([pl.DataFrame(schema=ROW), *found])

    def _changes(
        self, part: _Part, month_on: date, reported: Reported, loans: pl.Series, files: pl.DataFrame
    ) -> pl.DataFrame:
        table = self._contract.table(part.table)
        shown = [c.name for c in table.columns if c.name in part.columns and c.classification in _SHOWN_CLASSES]
        known = f"ingested_at <= $taken_in_by{'' if reported.as_newest else ' and known_at <= $observed_on'}"
        same_key = " and ".join(f"k.{c} is not distinct from r.{c}" for c in table.key)
        # All versions of what moves the month in one of them: a correction may have taken it to another loan or month.
        query = (
            f"with rows as (select *, {known} as known_then from {self._files(part.table)}),"  # noqa: S608
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
        """`loans`: a frame that the query names."""
        with duckdb.connect(config={"memory_limit": self._memory}) as db:
            if loans is not None:
                db.register("loans", loans)
            found: pl.DataFrame = db.sql(query, params=values).pl()
        return found


def month_end(day: date) -> date:
    """The last day of a day's month."""
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1) - timedelta(days=1)
