"""Functions that collect the monthly figures from which early warnings are derived.

Most figures come from a mart in the warehouse. The figures that need a PD are computed here with the champion. This
module does not use Dagster.
"""

import duckdb
import polars as pl

from dagster_project.early_warning.evaluate import FIGURES
from dagster_project.night.champion import load_champion
from dagster_project.night.pd_history import newest_month, pd_history, stages_since
from dagster_project.night.pipeline import MARTS, Pipeline
from dagster_project.night.stage_history import is_yearly, stage_history
from ml.model import CreditModel
from ml.train import TARGET
from ml.training_set import read

_FIGURES = "monitor_early_warning_figures"
# Blocks that the champion was not trained on.
_UNSEEN = ("oos", "oot")
# One row per account and segment; an account belongs to several segments. The mart has the same segments.
_SEGMENTS = """
    create or replace temp table segments as
    select loan_id, 'book' as segment_kind, 'all' as segment from staging.stg_loans where source = $source
    union all select loan_id, 'product', product from staging.stg_loans where source = $source
    union all select loan_id, 'channel', channel from staging.stg_loans where source = $source and channel is not null
    union all
    select loan_id, 'partner', partner from staging.stg_funding_shares where source = $source and partner <> 'own'
"""
# One row per account and month: the observed value, the value that the model expected, and the balance, from which
# shares of amounts are computed.
_JUDGED = pl.Schema(
    {
        "loan_id": pl.String(),
        "month_on": pl.Date(),
        "value": pl.Float64(),
        "expected": pl.Float64(),
        "balance": pl.Decimal(18, 2),
    }
)
# Decimals, because their sum does not depend on the order of addition.
_SUMMED = """
    select
        segment_kind,
        segment,
        month_on,
        count(*) as accounts,
        cast(sum(cast(value as decimal(18, 9))) as double) as total,
        cast(sum(cast(value * value as decimal(18, 9))) as double) as squares,
        cast(sum(cast(expected as decimal(18, 9))) as double) as expected,
        sum(balance * cast(value = 1 as integer)) as amount,
        sum(balance) as amount_of
    from judged join segments using (loan_id)
    group by all
"""


def early_warning_figures(pipeline: Pipeline) -> pl.DataFrame:
    """Return the figures of all indicators, with the columns of `FIGURES`. The rows are in no particular order.

    The figures that need a PD are left out for a source without a champion.
    """
    with pipeline.read_warehouse() as db:
        parts = [_as_figures(db.sql(f"select * from {MARTS}.{_FIGURES}").pl())]  # noqa: S608
        for source in pipeline.active_sources():
            if pipeline.champion(source) is None:
                continue
            model, _ = load_champion(pipeline, source)
            db.execute(_SEGMENTS, {"source": source})
            for indicator, judged in (
                ("new_business_pd", _new_business(pipeline, db, source, model)),
                ("default_rate_to_pd", _outcomes(pipeline, db, source, model)),
            ):
                found = _summed(db, judged)
                parts.append(_named(found, source, indicator))
            if "stage_2_share" in pipeline.policy.early_warning.indicators:
                parts.append(_named(_in_stage_2(pipeline, db, source), source, "stage_2_share"))
    return pl.concat(parts)


def _new_business(pipeline: Pipeline, db: duckdb.DuckDBPyConnection, source: str, model: CreditModel) -> pl.DataFrame:
    """Return the PD of each account in the first month in which the source's loans are observed.

    The result has the columns of `_JUDGED`, and `value` is the PD. Accounts that are in default in this month are left
    out. The result is empty if the policy sets no `observe_from_month` for the source. To save memory, accounts are
    scored one calendar year at a time.
    """
    first = pipeline.policy.sources[source].observe_from_month
    if first is None:
        return _judged([])
    features = f"from {MARTS}.feat_loan_months where source = $source and mob = $mob and not in_default"
    params = {"source": source, "mob": first - 1}
    years = [y for (y,) in db.execute(f"select distinct year(month_on) {features} order by 1", params).fetchall()]
    parts = []
    for year in years:
        rows = db.sql(f"select * {features} and year(month_on) = $year", params={**params, "year": year}).pl()
        parts.append(rows.select("loan_id", "month_on", value=_pd(pipeline, model, rows)))
    return _judged(parts)


def _outcomes(pipeline: Pipeline, db: duckdb.DuckDBPyConnection, source: str, model: CreditModel) -> pl.DataFrame:
    """Return the actual outcome and the PD of each observation that was not used for training.

    The result has the columns of `_JUDGED`. `value` is the outcome (0 or 1), and `expected` is the PD. `month_on` is
    the month in which the observation's horizon ended, or the newest month-end if the horizon ends later than that. The
    result is empty if there is no such observation.
    """
    usable = read(pipeline.training_set_file(source)).usable.filter(pl.col("block").is_in(_UNSEEN))
    if usable.is_empty():
        return _judged([])
    query = f"select max(horizon_months) from {MARTS}.label_loan_months where source = ?"  # noqa: S608
    (horizon,) = db.execute(query, [source]).fetchall()[0]
    query = f"select max(month_on) from {MARTS}.fct_loan_months where source = ?"  # noqa: S608
    (newest,) = db.execute(query, [source]).fetchall()[0]
    # A source that delivers outcomes may deliver them before its statements reach the end of the horizon.
    ended = pl.min_horizontal(pl.col("month_on").dt.offset_by(f"{horizon}mo").dt.month_end(), pl.lit(newest))
    value, expected = pl.col(TARGET).cast(pl.Float64), _pd(pipeline, model, usable)
    return _judged([usable.select("loan_id", month_on=ended, value=value, expected=expected)])


def _in_stage_2(pipeline: Pipeline, db: duckdb.DuckDBPyConnection, source: str) -> pl.DataFrame:
    """Return the sums from which the share of performing accounts in stage 2 is computed, by segment and month.

    The result covers only the newest months. These are the months that are needed to judge the newest month, and the
    months in which a warning that is still open may have been opened. Without these additional months, the warning
    would be opened again each night, in the oldest month of the result.

    The result is empty if the source has no loan months, or if the horizon of its PD is shorter than that of stage 1.
    """
    newest = newest_month(db, source)
    if newest is None or not is_yearly(pipeline, db, source):
        return _summed(db, _judged([]))
    history = pd_history(pipeline, db, source)
    parts = []
    for staged in stage_history(pipeline, db, source, history, stages_since(pipeline, newest)):
        value = (pl.col("stage") == 2).cast(pl.Float64)
        performing = staged.filter(pl.col("stage") < 3)
        judged = _judged([performing.select("loan_id", "month_on", "balance", value=value)])
        parts.append(_summed(db, judged))
    keys, counts = ("segment_kind", "segment", "month_on"), ("accounts", "total", "squares", "amount", "amount_of")
    return pl.concat(parts).group_by(keys).agg(pl.col(counts).sum())


def _pd(pipeline: Pipeline, model: CreditModel, rows: pl.DataFrame) -> pl.Series:
    return pl.Series(model.pd(rows, pd_floor=pipeline.policy.scale.pd_floor))


def _judged(parts: list[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat([pl.DataFrame(schema=_JUDGED), *parts], how="diagonal").cast(_JUDGED)


def _summed(db: duckdb.DuckDBPyConnection, judged: pl.DataFrame) -> pl.DataFrame:
    """Return the sums of `judged` by segment and month. The table `segments` must have the segments of the source."""
    db.register("judged", judged)
    try:
        found: pl.DataFrame = db.sql(_SUMMED).pl()
        return found
    finally:
        db.unregister("judged")


def _named(found: pl.DataFrame, source: str, indicator: str) -> pl.DataFrame:
    return _as_figures(found.with_columns(source=pl.lit(source), indicator=pl.lit(indicator)))


def _as_figures(rows: pl.DataFrame) -> pl.DataFrame:
    absent = [pl.lit(None).alias(name) for name in FIGURES if name not in rows.columns]
    return rows.with_columns(absent).select(pl.col(name).cast(dtype) for name, dtype in FIGURES.items())
