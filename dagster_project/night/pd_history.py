"""PDs that a night's scores do not give, of earlier month-ends, and the stages that follow from them. No Dagster.

Every month is scored by one model, tonight's champion: so a change of model moves no loan from one stage to another.
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

Range = tuple[str, str]  # loans from the first id on, and before the second
ALL: Range = ("", "\U0010ffff")
_AT_A_TIME = 25_000  # loans; 28 months of 29 features are 160 MB of them, and as much again as a matrix
_MINE = f"from {MARTS}.feat_loan_months as f where f.source = $source and f.loan_id >= $low and f.loan_id < $high"
_BETWEEN = "f.month_on between $since and $until"
# The month from which on a model may learn of a loan; of a younger loan there is no first score yet.
_FIRST = f"""
    (f.loan_id, year(f.month_on) * 12 + month(f.month_on)) in (
        select f.loan_id, year(min(f.month_on)) * 12 + month(min(f.month_on)) + $from_month - 1
        {_MINE} group by f.loan_id having max(f.month_on) >= $since
    )
"""
_OWED = f"""
    select * from {MARTS}.port_month_exposures
    where source = $source and loan_id >= $low and loan_id < $high and month_on >= $since
    order by loan_id, month_on
"""  # noqa: S608


@dataclass(frozen=True)
class Scorer:
    """A champion over the rows of its source's feature mart. `from_month`: of a loan, that a model may learn from."""

    db: duckdb.DuckDBPyConnection
    source: str
    model: CreditModel
    pd_floor: float
    from_month: int

    def pds(self, since: date, until: date, loans: Range = ALL) -> pl.DataFrame:
        """loan_id, month_on, pd of every row of these month-ends, in the order of loans and months."""
        return self._scored(_BETWEEN, loans, {"since": since, "until": until})

    def first_pds(self, since: date, loans: Range = ALL) -> pl.DataFrame:
        """loan_id, first_on, pd_first: a loan's first score and its month-end, of loans that have rows since a date."""
        found = self._scored(_FIRST, loans, {"since": since, "from_month": self.from_month})
        return found.rename({"month_on": "first_on", "pd": "pd_first"})

    def _scored(self, which: str, loans: Range, given: dict[str, object]) -> pl.DataFrame:
        columns = ", ".join(f"f.{name}" for name in ("loan_id", "month_on", "in_default", *self.model.fit.features))
        query = f"select {columns} {_MINE} and {which} order by f.loan_id, f.month_on"
        params = {"source": self.source, "low": loans[0], "high": loans[1], **given}
        rows: pl.DataFrame = self.db.sql(query, params=params).pl()
        if rows.is_empty():
            return rows.select("loan_id", "month_on", pd=pl.lit(None, pl.Float64))
        return rows.select("loan_id", "month_on", pd=pl.Series(self.model.pd(rows, pd_floor=self.pd_floor)))


def scorer(pipeline: Pipeline, db: duckdb.DuckDBPyConnection, source: str) -> Scorer:
    """The champion of a source that has one."""
    model, _ = load_champion(pipeline, source)
    from_month = pipeline.policy.sources[source].observe_from_month or 1
    return Scorer(db, source, model, pipeline.policy.scale.pd_floor, from_month)


def is_yearly(pipeline: Pipeline, db: duckdb.DuckDBPyConnection, source: str) -> bool:
    """Whether a PD looks as far ahead as stage 1 does: stages and expected losses stand on such PDs alone."""
    query = f"select max(horizon_months) from {MARTS}.label_loan_months where source = ?"  # noqa: S608
    (horizon,) = db.execute(query, [source]).fetchall()[0]
    return horizon is not None and horizon >= pipeline.policy.portfolio.ifrs9.horizon_months


def since_first() -> pl.Expr:
    """pd_first as it was known at month_on: the PD itself where there was no first score yet, or there is none now."""
    is_later = (pl.col("month_on") >= pl.col("first_on")) & pl.col("pd").is_not_null()
    return pl.when(is_later).then("pd_first").otherwise("pd").alias("pd_first")


def stage_history(pipeline: Pipeline, scorer: Scorer, since: date) -> Iterator[pl.DataFrame]:
    """The stage of every loan at every month-end since a date, some loans at a time: loan_id, month_on, stage, balance.

    At the newest month-end it is that of `port_expected_losses`.
    """
    for loans in _portions(scorer):
        given = {"source": scorer.source, "low": loans[0], "high": loans[1], "since": since}
        owed: pl.DataFrame = scorer.db.sql(_OWED, params=given).pl()
        with_pds = owed.join(scorer.pds(since, date.max, loans), on=["loan_id", "month_on"], how="left").join(
            scorer.first_pds(since, loans), on="loan_id", how="left", maintain_order="left"
        )
        pd = pl.when("is_default").then(1.0).otherwise("pd").alias("pd")
        staged = in_stages(with_pds.with_columns(pd).with_columns(since_first()), pipeline.policy.portfolio.ifrs9)
        yield staged.select("loan_id", "month_on", "stage", "balance")


def _portions(scorer: Scorer) -> Iterator[Range]:
    numbered = "select loan_id, row_number() over (order by loan_id) as n from staging.stg_loans where source = ?"
    query = f"select loan_id from ({numbered}) where n % {_AT_A_TIME} = 1 order by loan_id"  # noqa: S608
    first = [loan for (loan,) in scorer.db.execute(query, [scorer.source]).fetchall()]
    yield from pairwise([*first, ALL[1]])
