"""Functions that compute the IFRS 9 stages of loans at earlier month-ends.

Stages come from the PDs of `pd_history` and the exposures in the warehouse. This module does not use Dagster.
"""

from collections.abc import Iterator
from datetime import date

import duckdb
import polars as pl

from dagster_project.night.pd_history import NO_LOAN, PdHistory, chunks, month_of
from dagster_project.night.pipeline import MARTS, Pipeline
from dagster_project.portfolio.expected_loss import in_stages

_EXPOSURES = f"""
    select
        exposures.loan_id,
        exposures.month_on,
        exposures.remaining_months,
        exposures.dpd_end,
        exposures.arrears_basis,
        exposures.is_default,
        exposures.is_probation,
        exposures.is_forborne,
        exposures.balance,
        coalesce(loans.loan_no, {NO_LOAN}) as loan_no,
        {month_of("exposures.month_on")} as month
    from {MARTS}.port_month_exposures as exposures
    left join loans on exposures.loan_id = loans.loan_id
    where exposures.source = $source and exposures.month_on >= $since
"""  # noqa: S608


def is_yearly(pipeline: Pipeline, db: duckdb.DuckDBPyConnection, source: str) -> bool:
    """Return whether the horizon of the source's PD is at least as long as that of IFRS 9 stage 1.

    Stages and expected losses can only be computed if this is the case. If the source has no labels, the result is
    false.
    """
    query = f"select max(horizon_months) from {MARTS}.label_loan_months where source = ?"  # noqa: S608
    (horizon,) = db.execute(query, [source]).fetchall()[0]
    return horizon is not None and horizon >= pipeline.policy.portfolio.ifrs9.horizon_months


def first_or_own() -> pl.Expr:
    """Return an expression for the column pd_first: the first PD of a loan, as far as it was known in a month.

    The result equals pd in a `month` before `first_month`, for a loan without a first PD, and if pd is null.
    """
    is_later = (pl.col("month") >= pl.col("first_month")) & pl.col("pd").is_not_null()
    return pl.when(is_later).then("pd_first").otherwise("pd").alias("pd_first")


def stage_history(
    pipeline: Pipeline, db: duckdb.DuckDBPyConnection, source: str, history: PdHistory, since: date
) -> Iterator[pl.DataFrame]:
    """Yield the stages of all loans at each month-end on or after `since`, in chunks in no particular order.

    The columns are loan_id, month_on, stage and balance. There is one row per loan and month-end. At the newest
    month-end, the stages equal those in `port_expected_losses`.
    """
    for rows in chunks(db, _EXPOSURES, {"source": source, "since": since}, history.numbered()):
        pd = pl.when("is_default").then(1.0).otherwise("pd").alias("pd")
        with_pds = history.of(rows).with_columns(pd).with_columns(first_or_own())
        yield in_stages(with_pds, pipeline.policy.portfolio.ifrs9).select("loan_id", "month_on", "stage", "balance")
