"""Functions that compute the portfolio tables that would be difficult to compute in SQL.

They use the warehouse and tonight's scores. Tables that show a movement compare the two newest month-ends. Both are
computed with tonight's champion and tonight's data. So the tables depend only on the night's inputs, and a change of
champion does not appear as a movement. This module does not use Dagster.
"""

from dataclasses import dataclass

import duckdb
import numpy as np
import polars as pl

from dagster_project.ingestion.lake.files import write_parquet
from dagster_project.night.pd_history import pd_history
from dagster_project.night.pipeline import MARTS, Pipeline
from dagster_project.night.skip_reasons import why_unscored
from dagster_project.night.stage_history import first_or_own, is_yearly
from dagster_project.portfolio.arrears import ARREARS_STATES
from dagster_project.portfolio.coverage import coverage
from dagster_project.portfolio.expected_loss import expected_losses_of, movement_of, staged
from dagster_project.portfolio.grades import by_grade, concentration, moves
from dagster_project.portfolio.loss_given_default import Loss, loss_given_default
from dagster_project.portfolio.migration import generator, transition_matrix
from dagster_project.portfolio.pools import static_pools
from dagster_project.portfolio.tables import TABLES, empty
from ml.scale import DEFAULT_GRADE, grade


@dataclass(frozen=True)
class _Book:
    """The loans of one source at the two newest month-ends, with their PDs.

    Attributes:
        source: the name of the source.
        before: the loans at the month-end before the newest one, sorted by loan id. Empty if there is only one
            month-end.
        now: the loans at the newest month-end, sorted by loan id.
        is_yearly: whether the PDs look far enough ahead for stages and expected losses; see `stage_history.is_yearly`.
    """

    source: str
    before: pl.DataFrame
    now: pl.DataFrame
    is_yearly: bool


def write_tables(pipeline: Pipeline) -> dict[str, int]:
    """Compute all portfolio tables and write each one to a Parquet file, which is later checked and published.

    Returns the number of rows by table.
    """
    computed = tables(pipeline)
    for name, frame in computed.items():
        write_parquet(frame, pipeline.portfolio_file(name))
    return {name: frame.height for name, frame in computed.items()}


def tables(pipeline: Pipeline) -> dict[str, pl.DataFrame]:
    """Compute all portfolio tables named in `TABLES`.

    Returns the tables by name, each sorted by its key columns. A table without any figures is empty, but has all its
    columns.
    """
    parts: dict[str, list[pl.DataFrame]] = {name: [] for name in TABLES}
    scores = pl.read_parquet(pipeline.scores_file)
    with pipeline.read_warehouse() as db:
        vintages = db.sql(f"select * from {MARTS}.port_vintages").pl()  # noqa: S608
        parts["port_static_pools"].append(static_pools(vintages, pipeline.policy.portfolio.static_pools))
        for source in pipeline.active_sources():
            losses = _losses_given_default(db, pipeline, source)
            parts["port_losses_given_default"].append(losses)
            parts["port_duration_matrix"].append(_duration_matrix(db, source))
            book = _book(db, pipeline, source, scores)
            reason = why_unscored(pipeline, source)
            if book is not None:
                reason = None if book.is_yearly else _NOT_YEARLY
                for name, frame in _on_scores(pipeline, book, losses).items():
                    parts[name].append(frame)
            pools = parts["port_static_pools"][0].filter(pl.col("source") == source)
            parts["port_coverage"].append(_coverage(db, pipeline, source, pools, losses, reason))
    return {
        name: pl.concat([empty(name), *(p.select(empty(name).columns) for p in parts[name])]).sort(keys)
        for name, keys in TABLES.items()
    }


_NOT_YEARLY = "the model's PD does not look twelve months ahead, and no later months were delivered"


def _losses_given_default(db: duckdb.DuckDBPyConnection, pipeline: Pipeline, source: str) -> pl.DataFrame:
    """Compute the loss given default of a source, with one row per currency for each of the two newest month-ends."""
    curve = _read(db, "port_recoveries", source)
    query = f"select distinct currency, month_on from {MARTS}.port_exposures where source = ?"  # noqa: S608
    found = [
        (source, currency, month_on, *_values(loss_given_default(month_curve, pipeline.policy.portfolio.loss)))
        for currency, month_on in db.execute(query, [source]).fetchall()
        for month_curve in [curve.filter((pl.col("currency") == currency) & (pl.col("as_of_on") == month_on))]
    ]
    return pl.DataFrame(found, schema=empty("port_losses_given_default").schema, orient="row")


def _values(loss: Loss) -> tuple[float, float | None, float, int, str | None]:
    own = None if loss.own is None else round(float(loss.own), 9)
    return round(loss.given_default, 9), own, round(float(loss.extrapolated), 9), loss.workouts, loss.why_policy


def _duration_matrix(db: duckdb.DuckDBPyConnection, source: str) -> pl.DataFrame:
    """Compute yearly transition intensities and 12-month transition probabilities between a source's arrears states.

    There is one row for each pair of states among those that occur in `port_transitions`. The result is empty if there
    are no transitions.
    """
    transitions = _read(db, "port_transitions", source)
    occur = set(transitions["from_state"]) | set(transitions["to_state"])
    states = [s for s in ARREARS_STATES if s in occur]
    index = {state: i for i, state in enumerate(states)}
    counts, years = np.zeros((len(states), len(states))), np.zeros(len(states))
    for was, now, loans, spent in transitions.select("from_state", "to_state", "loans", "exposure_years").iter_rows():
        counts[index[was], index[now]] = loans
        years[index[was]] = spent
    if not states:
        return empty("port_duration_matrix")
    intensities = generator(counts, years)
    after = transition_matrix(intensities, 1.0)
    return pl.DataFrame(
        {
            "source": source,
            "from_state": np.repeat(states, len(states)),
            "to_state": np.tile(states, len(states)),
            "intensity": intensities.ravel().round(9),
            "probability_12m": after.ravel().round(9),
        }
    )


def _book(db: duckdb.DuckDBPyConnection, pipeline: Pipeline, source: str, scores: pl.DataFrame) -> _Book | None:
    """Return a source's loans at the two newest month-ends, with their PDs.

    Each loan has its PD at the month-end and the PD of its first score. Returns None if the source has no scores or no
    loans.
    """
    own = scores.filter(pl.col("source") == source)
    exposures = _read(db, "port_exposures", source).sort("loan_id")
    if own.is_empty() or exposures.is_empty():
        return None
    months = exposures["month_on"].unique().sort().to_list()
    history = pd_history(pipeline, db, source)
    first = history.first()
    then = history.pds_in(months[0]) if len(months) > 1 else own.select("loan_id", "pd").clear()
    return _Book(
        source,
        _with_pds(exposures.filter(pl.col("month_on") != months[-1]), then, first),
        _with_pds(exposures.filter(pl.col("month_on") == months[-1]), own.select("loan_id", "pd"), first),
        is_yearly(pipeline, db, source),
    )


def _with_pds(loans: pl.DataFrame, pds: pl.DataFrame, first: pl.DataFrame) -> pl.DataFrame:
    """Add the columns pd, pd_basis and pd_first to the loans.

    A loan in default gets a PD of 1. A performing loan without a score gets the mean PD of the scored, performing loans
    in the same arrears state. If there are none, it gets the mean PD of all scored, performing loans. If there are none
    of these either, it gets 1.

    pd_basis is `default` for a loan in default, `score` for any other loan with a score, and `state_mean` for all other
    loans. pd_first equals pd if pd_basis is `state_mean`, or if there is no first score yet.

    Args:
        loans: the loans at one month-end.
        pds: the PDs at this month-end, with the columns loan_id and pd.
        first: the first PDs; see `PdHistory.first`.
    """
    month = pl.col("month_on").dt.year() * 12 + pl.col("month_on").dt.month() - 1
    joined = loans.join(pds, on="loan_id", how="left").join(first, on="loan_id", how="left").sort("loan_id")
    joined = joined.with_columns(month=month)
    is_scored = pl.col("pd").is_not_null()
    performing = joined.filter(~pl.col("is_default") & is_scored)
    by_state = performing.group_by("state").agg(pl.col("pd").sort().mean().alias("state_pd"))
    overall = float(performing["pd"].sort().to_numpy().mean()) if performing.height else None
    pd = pl.when("is_default").then(1.0).otherwise(pl.coalesce("pd", "state_pd", pl.lit(overall, pl.Float64), 1.0))
    basis = pl.when("is_default").then(pl.lit("default")).when(is_scored).then(pl.lit("score"))
    return (
        joined.join(by_state, on="state", how="left")
        .sort("loan_id")
        .with_columns(pd_basis=basis.otherwise(pl.lit("state_mean")), pd=pd)
        .with_columns(pd_first=pl.when(pl.col("pd_basis") == "state_mean").then("pd").otherwise(first_or_own()))
        .drop("state_pd", "first_month", "month")
    )


def _on_scores(pipeline: Pipeline, book: _Book, losses: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Compute the portfolio tables that need scores, and return them by name.

    The tables of expected losses are left out if the PDs do not look one year ahead.
    """
    policy, scale, source = pipeline.policy.portfolio, pipeline.policy.scale, pl.lit(book.source).alias("source")
    order = [*scale.grade_edges, DEFAULT_GRADE]
    graded = [
        frame.with_columns(
            grade=pl.when("is_default").then(pl.lit(DEFAULT_GRADE)).otherwise(grade(pl.col("pd"), scale))
        )
        for frame in (book.before, book.now)
    ]
    loss = float(losses.sort("as_of_on")["loss_given_default"].to_numpy()[-1]) if losses.height else None
    grades = by_grade(
        graded[1], policy.loss.given_default if loss is None else loss, policy.price, priced=book.is_yearly
    )
    moved = moves(graded[0].select("loan_id", "grade"), graded[1].select("loan_id", "grade"), order)
    found = {
        "port_grades": grades.with_columns(source),
        "port_grade_moves": moved.with_columns(source),
        "port_grade_concentration": concentration(grades, moved, order, policy.limits.grade_hhi).with_columns(source),
    }
    if book.is_yearly:
        before, now = (
            staged(frame, losses, policy.ifrs9, policy.loss.discount_rate) for frame in (book.before, book.now)
        )
        found["port_expected_losses"] = expected_losses_of(before, now, policy.ifrs9).with_columns(source)
        found["port_loss_movement"] = movement_of(before, now, policy.ifrs9).with_columns(source)
    return found


def _coverage(
    db: duckdb.DuckDBPyConnection,
    pipeline: Pipeline,
    source: str,
    pools: pl.DataFrame,
    losses: pl.DataFrame,
    why_no_expected_loss: str | None,
) -> pl.DataFrame:
    names = ("port_vintages", "port_roll_rates", "port_client_money")

    def count(what: str, table: str) -> int:
        query = f"select {what} from {MARTS}.{table} where source = ?"  # noqa: S608
        return int(db.execute(query, [source]).fetchall()[0][0])

    return coverage(
        source,
        {name: count("count(*)", name) for name in names},
        is_dated=count("count(opened_on)", "dim_loans") > 0,
        months=count("count(distinct month_on)", "fct_loan_months"),
        moves=count("coalesce(max(months), 0)", "port_transitions"),
        matrix_months=pipeline.policy.portfolio.matrix_months,
        forecasts=pools["forecast_rate"].count(),
        why_policy_loss=losses.sort("as_of_on")["why_policy"][-1] if losses.height else "no loan is owed",
        why_no_expected_loss=why_no_expected_loss,
    )


def _read(db: duckdb.DuckDBPyConnection, table: str, source: str) -> pl.DataFrame:
    rows: pl.DataFrame = db.sql(f"select * from {MARTS}.{table} where source = ?", params=[source]).pl()  # noqa: S608
    return rows
