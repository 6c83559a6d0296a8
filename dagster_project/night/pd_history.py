"""PDs of a source's loans at earlier month-ends.

A night's scores contain only the PDs of the newest month. The PDs of all earlier months are computed with tonight's
champion, so that a change of champion by itself moves no loan to another stage.

They are computed once a night, in one pass over the features, and kept in a file. The next night computes only the
months that its build of the warehouse computed again, if the champion is the same. This module does not use Dagster.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb
import numpy as np
import polars as pl

from dagster_project.ingestion.lake.files import write_parquet
from dagster_project.night.champion import load_champion
from dagster_project.night.incremental_build import current_build
from dagster_project.night.pipeline import MARTS, Pipeline
from ml.model import CreditModel

CHUNK = 250_000  # rows that are scored at once; with 29 features they take 60 MB, and half as much as a matrix
NO_LOAN = -1  # the number of a loan that is not in the history
_NEVER = 0  # a month before all data
_ALWAYS = 999_999  # a month after all data
_MONTH = "cast(year({0}) * 12 + month({0}) - 1 as integer)"
_ID, _FIRST_MONTH, _FIRST_PD = "loan_id", "first_month", "pd_first"
# One row per loan. `first_month` is the month of its first PD: the first month that a model may learn from. PDs are
# computed from `from_month` on; null means that none is.
_LOANS = f"""
    select
        loans.loan_id,
        cast(row_number() over (order by loans.loan_id) - 1 as integer) as loan_no,
        observed.first_month,
        {{from_month}} as from_month
    from {MARTS}.dim_loans as loans
    left join (
        select loan_id, {_MONTH.format("min(month_on)")} + $from_month - 1 as first_month
        from {MARTS}.feat_loan_months
        where source = $source
        group by loan_id
    ) as observed on loans.loan_id = observed.loan_id
    {{rebuilt}}
    where loans.source = $source
    order by loans.loan_id
"""  # noqa: S608
_REBUILT = """
    left join intermediate.int_observations_to_rebuild as rebuilt
        on loans.source = rebuilt.source and loans.loan_id = rebuilt.loan_id
"""
_ROWS = f"""
    select loans.loan_no, loans.first_month, {_MONTH.format("rows.month_on")} as month, rows.in_default, {{features}}
    from {MARTS}.feat_loan_months as rows
    inner join loans on rows.loan_id = loans.loan_id
    where rows.source = $source and month >= loans.from_month and (month >= $since or month = loans.first_month)
"""  # noqa: S608


@dataclass(frozen=True)
class PdHistory:
    """The PDs of a source's loans. A loan has a number, which is its position in `loans`; months are `month_number`s.

    Attributes:
        loans: the loan ids, in ascending order.
        since: the oldest month.
        pds: the PD of each loan in each month from `since` on, with shape (loans + 1, months). It is NaN if the
            warehouse has no features for it. The last row is NaN, so that NO_LOAN has no PD.
        first_months: the month of each loan's first PD, with shape (loans + 1). It is after all months if there is
            none.
        first_pds: the first PD of each loan, with shape (loans + 1), or NaN if there is none.
    """

    loans: pl.Series
    since: int
    pds: np.ndarray
    first_months: np.ndarray
    first_pds: np.ndarray

    def numbered(self) -> pl.DataFrame:
        """Return the loans with the columns loan_id and loan_no."""
        return pl.DataFrame({_ID: self.loans, "loan_no": np.arange(len(self.loans), dtype=np.int32)})

    def pds_in(self, month_on: date) -> pl.DataFrame:
        """Return the PDs of one month, with the columns loan_id and pd. Loans without a PD are left out."""
        column = self.pds[:-1, month_number(month_on) - self.since]
        return pl.DataFrame({_ID: self.loans, "pd": column}).filter(~pl.col("pd").is_nan())

    def first(self) -> pl.DataFrame:
        """Return the first PD of each loan that has one, with the columns loan_id, first_month and pd_first."""
        columns = {_ID: self.loans, _FIRST_MONTH: self.first_months[:-1], _FIRST_PD: self.first_pds[:-1]}
        return pl.DataFrame(columns).filter(~pl.col(_FIRST_PD).is_nan())

    def of(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return rows with the columns loan_no and month, and the additional columns pd, first_month and pd_first.

        pd and pd_first are null if there is none. All months must be in the history.
        """
        loans, months = rows["loan_no"].to_numpy(), rows["month"].to_numpy() - self.since
        return rows.with_columns(
            pl.Series("pd", self.pds[loans, months]).fill_nan(None),
            pl.Series(_FIRST_MONTH, self.first_months[loans]),
            pl.Series(_FIRST_PD, self.first_pds[loans]).fill_nan(None),
        )


def month_number(day: date) -> int:
    """Return the number of a day's month, counted from the beginning of the calendar."""
    return day.year * 12 + day.month - 1


def pd_history(pipeline: Pipeline, db: duckdb.DuckDBPyConnection, source: str) -> PdHistory:
    """Return the PDs of all loans of a source, for the months that early warnings and the portfolio's tables need.

    The file of an earlier call is read instead if the warehouse and the champion are the same. If the warehouse was
    built on the one that the file describes, only the PDs of the rebuilt months are computed. `db` is a connection to
    the warehouse.

    Raises:
        NoChampionError: the source has no champion.
        ModelIntegrityError: the files of the champion's model are missing or were changed.
    """
    model, champion = load_champion(pipeline, source)
    months, build, file = _months(pipeline, db, source), current_build(pipeline), pipeline.pd_history_file(source)
    if build is None:
        return _computed(pipeline, db, source, model, months, None)
    key = {"champion": champion.sha256, "build": build.digest}
    if (same := _kept(file, key, months)) is not None:
        return _carried(same, same.select(_ID, from_month=pl.lit(_ALWAYS)), months)
    before = _kept(file, key | {"build": build.built_on}, months) if build.built_on else None
    history = _computed(pipeline, db, source, model, months, before)
    write_parquet(_as_frame(history), file, {"key": json.dumps(key)})
    return history


def chunks(
    db: duckdb.DuckDBPyConnection, query: str, params: dict[str, object], loans: pl.DataFrame
) -> Iterator[pl.DataFrame]:
    """Yield the rows of a query in chunks of at most `CHUNK` rows, in no particular order, while the query runs.

    The query may read the frame `loans` as a table of this name. The connection can run other queries meanwhile.
    """
    with db.cursor() as running:
        # Tables of a few columns are joined to long ones: the optimizer would hash the long side of some joins.
        running.execute("set disabled_optimizers = 'build_side_probe_side'")
        running.register("loans", loans)
        for batch in running.sql(query, params=params).to_arrow_reader(CHUNK):
            yield pl.DataFrame(batch)


def month_of(column: str) -> str:
    """Return the SQL expression for the number of a date's month; see `month_number`."""
    return _MONTH.format(column)


def stages_since(pipeline: Pipeline, newest: date) -> date:
    """Return the oldest month-end whose stages are needed, for a source whose newest month-end is `newest`.

    Early warnings need the months in which a warning that is still open may have been opened, and the months that it
    was compared with. Without early warnings of stage 2, only the month before the newest one is needed.
    """
    policy, months = pipeline.policy.early_warning, 1
    if "stage_2_share" in policy.indicators:
        months = policy.oldest_base("stage_2_share") + policy.hold_base_months
    since: date = pl.select(pl.lit(newest).dt.offset_by(f"-{months}mo").dt.month_end()).item()
    return since


def _months(pipeline: Pipeline, db: duckdb.DuckDBPyConnection, source: str) -> range:
    """Return the numbers of the months for which PDs are needed; there are none if the source has no loan months.

    These are the months since `stages_since`, and the month-end before the newest one with exposures.
    """
    newest = newest_month(db, source)
    if newest is None:
        return range(_NEVER, _NEVER)
    query = f"select min(month_on) from {MARTS}.port_exposures where source = ?"  # noqa: S608
    (compared,) = db.execute(query, [source]).fetchall()[0]
    since = stages_since(pipeline, newest)
    return range(month_number(min(since, compared or since)), month_number(newest) + 1)


def newest_month(db: duckdb.DuckDBPyConnection, source: str) -> date | None:
    """Return the newest month-end of a source's loan months, or None if it has none."""
    query = f"select max(month_on) from {MARTS}.fct_loan_months where source = ?"  # noqa: S608
    newest: date | None = db.execute(query, [source]).fetchall()[0][0]
    return newest


def _computed(
    pipeline: Pipeline,
    db: duckdb.DuckDBPyConnection,
    source: str,
    model: CreditModel,
    months: range,
    before: pl.DataFrame | None,
) -> PdHistory:
    """Compute the PDs of all months, or only those of rebuilt months if there is a frame of the build before."""
    from_month, rebuilt = (_MONTH.format("rebuilt.from_month"), _REBUILT) if before is not None else (str(_NEVER), "")
    query = _LOANS.format(from_month=from_month, rebuilt=rebuilt)
    observed_from = pipeline.policy.sources[source].observe_from_month or 1
    loans = db.sql(query, params={"source": source, "from_month": observed_from}).pl()
    history = _carried(before, loans, months) if before is not None else _empty(loans["loan_id"], months)
    query = _ROWS.format(features=", ".join(f"rows.{name}" for name in model.fit.features))
    for rows in chunks(db, query, {"source": source, "since": months.start}, loans):
        pd = model.pd(rows, pd_floor=pipeline.policy.scale.pd_floor)
        loan, month, first = (rows[name].to_numpy() for name in ("loan_no", "month", _FIRST_MONTH))
        kept, is_first = month >= months.start, month == first
        history.pds[loan[kept], month[kept] - months.start] = pd[kept]
        history.first_months[loan[is_first]] = month[is_first]
        history.first_pds[loan[is_first]] = pd[is_first]
    return history


def _empty(loans: pl.Series, months: range) -> PdHistory:
    rows = len(loans) + 1
    return PdHistory(
        loans,
        months.start,
        np.full((rows, len(months)), np.nan),
        np.full(rows, _ALWAYS, dtype=np.int32),
        np.full(rows, np.nan),
    )


def _carried(before: pl.DataFrame, loans: pl.DataFrame, months: range) -> PdHistory:
    """Return what the frame of the build before says about months that were not rebuilt.

    `loans` has the columns loan_id and from_month, which is null if no month of the loan was rebuilt.
    """
    carried = loans.select(_ID, pl.col("from_month").fill_null(_ALWAYS)).join(
        before, on=_ID, how="left", maintain_order="left"
    )
    is_kept = pl.col(_FIRST_MONTH) < pl.col("from_month")
    history = _empty(loans[_ID], months)
    history.first_months[:-1] = (
        carried.select(pl.when(is_kept).then(_FIRST_MONTH).otherwise(_ALWAYS)).to_series().to_numpy()
    )
    history.first_pds[:-1] = carried.select(pl.when(is_kept).then(_FIRST_PD)).to_series().to_numpy()
    for month in months:
        if str(month) in before.columns:
            kept = carried.select(pl.when(pl.col("from_month") > month).then(str(month)))
            history.pds[:-1, month - months.start] = kept.to_series().to_numpy()
    return history


def _as_frame(history: PdHistory) -> pl.DataFrame:
    """Return a history as a frame with one row per loan. The column of a month has the month's number as its name."""
    months = {str(history.since + i): history.pds[:-1, i] for i in range(history.pds.shape[1])}
    first = {_FIRST_MONTH: history.first_months[:-1], _FIRST_PD: history.first_pds[:-1]}
    return pl.DataFrame({_ID: history.loans} | first | months, nan_to_null=True)


def _kept(file: Path, key: dict[str, str], months: range) -> pl.DataFrame | None:
    """Return the frame in the file, or None if it has another key or does not reach back to the first month."""
    if not file.exists() or json.loads(pl.read_parquet_metadata(file)["key"]) != key:
        return None
    frame = pl.read_parquet(file)
    return frame if not months or str(months.start) in frame.columns else None
