"""Functions that compute the PDs and IFRS 9 stages of loans at earlier month-ends.

A night's scores contain only the PDs of the newest month. The PDs of all earlier months are computed with tonight's
champion, so that a change of champion by itself moves no loan to another stage. This module does not use Dagster.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from itertools import pairwise

import duckdb
import polars as pl

from dagster_project.night.champion import load_champion
from dagster_project.night.pipeline import MARTS, Pipeline
from dagster_project.portfolio.expected_loss import in_stages
from ml.model import CreditModel

Range = tuple[str, str]  # loan ids from the first (inclusive) to the second (exclusive)
ALL: Range = ("", "\U0010ffff")
_BATCH = 25_000  # loans; 28 months of 29 features take 160 MB, and another 160 MB as a matrix
_LOANS = f"from {MARTS}.feat_loan_months as f where f.source = $source and f.loan_id >= $low and f.loan_id < $high"
_BETWEEN = "f.month_on between $since and $until"
# Condition for the first month of a loan that a model may learn from; a younger loan has no first score yet.
_FIRST = f"""
    (f.loan_id, year(f.month_on) * 12 + month(f.month_on)) in (
        select f.loan_id, year(min(f.month_on)) * 12 + month(min(f.month_on)) + $from_month - 1
        {_LOANS} group by f.loan_id having max(f.month_on) >= $since
    )
"""
_EXPOSURES = f"""
    select * from {MARTS}.port_month_exposures
    where source = $source and loan_id >= $low and loan_id < $high and month_on >= $since
    order by loan_id, month_on
"""  # noqa: S608


@dataclass(frozen=True)
class Scorer:
    """A source's champion, together with the warehouse from which it reads the features that it scores.

    Attributes:
        db: a connection to the warehouse.
        source: the name of the source.
        model: the champion's model.
        pd_floor: the lowest PD that a loan can have.
        from_month: the number of the month of a loan's life in which the loan is first observed. Month 1 is the first
            month for which the warehouse has features of the loan.
    """

    db: duckdb.DuckDBPyConnection
    source: str
    model: CreditModel
    pd_floor: float
    from_month: int

    def pds(self, since: date, until: date, loans: Range = ALL) -> pl.DataFrame:
        """Return the PDs of a range of loans at each month-end from `since` to `until`, both inclusive.

        The columns are loan_id, month_on and pd. There is one row per loan and month-end, sorted by loan_id, then by
        month_on. The result is empty if the warehouse has no features for these loans and months.
        """
        return self._scored(_BETWEEN, loans, {"since": since, "until": until})

    def first_pds(self, since: date, loans: Range = ALL) -> pl.DataFrame:
        """Return the first PD of each loan in a range, which is its PD in the month `from_month` of its life.

        The columns are loan_id, first_on (the month-end) and pd_first. The result leaves out loans that have no row for
        that month, and loans that have no row on or after `since`.
        """
        found = self._scored(_FIRST, loans, {"since": since, "from_month": self.from_month})
        return found.rename({"month_on": "first_on", "pd": "pd_first"})

    def _scored(self, which: str, loans: Range, values: dict[str, object]) -> pl.DataFrame:
        columns = ", ".join(f"f.{name}" for name in ("loan_id", "month_on", "in_default", *self.model.fit.features))
        query = f"select {columns} {_LOANS} and {which} order by f.loan_id, f.month_on"
        params = {"source": self.source, "low": loans[0], "high": loans[1], **values}
        rows: pl.DataFrame = self.db.sql(query, params=params).pl()
        if rows.is_empty():
            return rows.select("loan_id", "month_on", pd=pl.lit(None, pl.Float64))
        return rows.select("loan_id", "month_on", pd=pl.Series(self.model.pd(rows, pd_floor=self.pd_floor)))


def scorer(pipeline: Pipeline, db: duckdb.DuckDBPyConnection, source: str) -> Scorer:
    """Return the scorer of a source.

    Raises:
        NoChampionError: the source has no champion.
        ModelIntegrityError: the files of the champion's model are missing or were changed.
    """
    model, _ = load_champion(pipeline, source)
    from_month = pipeline.policy.sources[source].observe_from_month or 1
    return Scorer(db, source, model, pipeline.policy.scale.pd_floor, from_month)


def is_yearly(pipeline: Pipeline, db: duckdb.DuckDBPyConnection, source: str) -> bool:
    """Return whether the horizon of the source's PD is at least as long as that of IFRS 9 stage 1.

    Stages and expected losses can only be computed if this is the case. If the source has no labels, the result is
    false.
    """
    query = f"select max(horizon_months) from {MARTS}.label_loan_months where source = ?"  # noqa: S608
    (horizon,) = db.execute(query, [source]).fetchall()[0]
    return horizon is not None and horizon >= pipeline.policy.portfolio.ifrs9.horizon_months


def since_first() -> pl.Expr:
    """Return an expression for the column pd_first: the first PD of a loan, as far as it was known at `month_on`.

    The result equals pd if `month_on` is before `first_on`, if the loan has no first PD, or if pd is null.
    """
    is_later = (pl.col("month_on") >= pl.col("first_on")) & pl.col("pd").is_not_null()
    return pl.when(is_later).then("pd_first").otherwise("pd").alias("pd_first")


def stage_history(pipeline: Pipeline, scorer: Scorer, since: date) -> Iterator[pl.DataFrame]:
    """Yield the stages of all loans at each month-end on or after `since`, in batches of loans.

    The columns are loan_id, month_on, stage and balance. There is one row per loan and month-end. At the newest
    month-end, the stages equal those in `port_expected_losses`.
    """
    for loans in _batches(scorer):
        params = {"source": scorer.source, "low": loans[0], "high": loans[1], "since": since}
        exposures: pl.DataFrame = scorer.db.sql(_EXPOSURES, params=params).pl()
        with_pds = exposures.join(scorer.pds(since, date.max, loans), on=["loan_id", "month_on"], how="left").join(
            scorer.first_pds(since, loans), on="loan_id", how="left", maintain_order="left"
        )
        pd = pl.when("is_default").then(1.0).otherwise("pd").alias("pd")
        staged = in_stages(with_pds.with_columns(pd).with_columns(since_first()), pipeline.policy.portfolio.ifrs9)
        yield staged.select("loan_id", "month_on", "stage", "balance")


def _batches(scorer: Scorer) -> Iterator[Range]:
    numbered = "select loan_id, row_number() over (order by loan_id) as n from staging.stg_loans where source = ?"
    query = f"select loan_id from ({numbered}) where n % {_BATCH} = 1 order by loan_id"  # noqa: S608
    first = [loan for (loan,) in scorer.db.execute(query, [scorer.source]).fetchall()]
    yield from pairwise([*first, ALL[1]])
