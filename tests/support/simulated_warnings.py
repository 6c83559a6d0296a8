"""Early warning figures of simulated books, computed without running a night.

The simulator generates the loan months directly instead of files, and the SQL of the night's dbt models runs on them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import numpy as np
import polars as pl

from dagster_project.early_warning.evaluate import FIGURES
from dagster_project.night import early_warning_figures
from dagster_project.night.pipeline import Pipeline
from dagster_project.policy import Policy
from dagster_project.portfolio.expected_loss import in_stages
from dagster_project.simulator.behaviour import CLOSED, DEFAULT
from dagster_project.simulator.borrowers import make_borrowers
from dagster_project.simulator.clock import Calendar
from dagster_project.simulator.deferral import NEVER, draw_lots
from dagster_project.simulator.drift import drift_path, in_segment
from dagster_project.simulator.funding import draw_funding
from dagster_project.simulator.ledger import Ledger
from dagster_project.simulator.macro import macro_path
from dagster_project.simulator.products import CHANNELS, PRODUCTS, Loans, assign_borrowers, make_loans
from dagster_project.simulator.simulate import Plan
from dagster_project.simulator.truth import HORIZON, NOT_YET, loan_months
from dagster_project.warehouse.runner import run_dbt

SOURCE = "simulated"
MODEL = "monitor_early_warning_figures"
FORBORNE = 24  # months after a change of terms
# What the ledger says of a loan so many months behind; tests/integration/test_simulated.py shows that it does.
_STATES = {
    0: ("current", 0),
    1: ("1-30", 15),
    2: ("31-60", 45),
    3: ("61-90", 75),
    DEFAULT: ("90+", 100),
    CLOSED: ("closed", 0),
}


def compiled_model(pipeline: Pipeline, model: str = MODEL) -> str:
    """Return the SQL that the night runs for a dbt model, by default for the early warning figures."""
    pipeline.settings.warehouse.mkdir(parents=True, exist_ok=True)
    done = run_dbt(pipeline.settings, pipeline.policy, ["compile", "--quiet", "--select", model], quiet=True)
    assert done.returncode == 0, done.stdout
    return next(pipeline.settings.dbt_target.rglob(f"compiled/**/{model}.sql")).read_text()


def figures_of(plan: Plan, sql: str, folder: Path) -> pl.DataFrame:
    """Return the early warning figures of a simulated book, computed by `sql` from its loan months.

    The loan months are written to `folder`, which must not exist yet. The figures that need a PD are not included.
    """
    with _book(plan, folder) as (db, _):
        found = db.sql(sql).pl().with_columns(expected=pl.lit(None))
    return found.select(pl.col(column).cast(dtype) for column, dtype in FIGURES.items())


def figures_by_truth(plan: Plan, sql: str, folder: Path, policy: Policy) -> pl.DataFrame:
    """Return the early warning figures of a simulated book, including those that need a PD.

    The latter use each loan's true PD in place of a model's. `folder` must not exist yet.
    """
    with _book(plan, folder) as (db, truth):
        found = [db.sql(sql).pl().with_columns(expected=pl.lit(None))]
        db.execute(early_warning_figures._SEGMENTS, {"source": SOURCE})
        for indicator, judged in _judged_by_truth(truth, policy).items():
            summed = early_warning_figures._summed(db, early_warning_figures._judged([judged]))
            found.append(early_warning_figures._named(summed, SOURCE, indicator))
    return pl.concat(rows.select(pl.col(c).cast(dtype) for c, dtype in FIGURES.items()) for rows in found)


def vintages_of(plan: Plan, sql: str, folder: Path) -> pl.DataFrame:
    """Return the rows of `port_vintages` for a simulated book, computed by `sql` from its loan months.

    The loan months are written to `folder`, which must not exist yet.
    """
    with _book(plan, folder) as (db, _):
        return db.sql(sql).pl()


def _judged_by_truth(truth: pl.DataFrame, policy: Policy) -> dict[str, pl.DataFrame]:
    """Return the value of each loan month for each indicator that needs a PD, by indicator.

    `truth` is the second frame that `_live` returns. A loan is observed from the policy's `observe_from_month` on. For
    `default_rate_to_pd` it is observed once every `HORIZON` months, so that the periods in which defaults count do not
    overlap.
    """
    first = policy.sources[SOURCE].observe_from_month
    seen = truth.sort("loan_id", "month_on").with_columns(
        pd_first=pl.col("pd").filter(pl.col("mob") == first - 1).first().over("loan_id"),
        arrears_basis=pl.lit("ledger"),
        is_probation=pl.lit(value=False),
    )
    young = (pl.col("mob") < first - 1) | pl.col("pd").is_null()
    staged = in_stages(
        seen.with_columns(
            pd=pl.when("is_default").then(1.0).otherwise("pd"), pd_first=pl.when(young).then("pd").otherwise("pd_first")
        ),
        policy.portfolio.ifrs9,
    ).filter(pl.col("stage") < 3)
    is_new = (pl.col("mob") == first - 1) & pl.col("pd").is_not_null()
    next_default = pl.when("is_default").then("mob").shift(-1).backward_fill().over("loan_id")
    went = (next_default - pl.col("mob") <= HORIZON).fill_null(value=False).cast(pl.Float64)
    ended = pl.col("month_on").dt.offset_by(f"{HORIZON}mo").dt.month_end()
    # One window a year and loan, so that none overlaps with another.
    is_window = (pl.col("mob") >= first - 1) & ((pl.col("mob") - first + 1) % HORIZON == 0)
    windows = seen.with_columns(value=went, month_on=ended).filter(
        is_window & pl.col("pd").is_not_null() & (pl.col("month_on") <= seen["month_on"].max())
    )
    return {
        "stage_2_share": staged.select("loan_id", "month_on", "balance", value=(pl.col("stage") == 2).cast(pl.Float64)),
        "new_business_pd": seen.filter(is_new).select("loan_id", "month_on", value="pd"),
        "default_rate_to_pd": windows.select("loan_id", "month_on", "value", expected="pd"),
    }


@contextmanager
def _book(plan: Plan, folder: Path) -> Iterator[tuple[duckdb.DuckDBPyConnection, pl.DataFrame]]:
    """Yield a database filled with a simulated book, and a frame with the true PDs of the book.

    The database has the tables that the night's SQL reads, and is closed when the context ends. The frame is the second
    one that `_live` returns.
    """
    loans, truth = _live(plan, folder)
    funding = draw_funding(plan.seed, loans)
    name = lambda place, names: pl.Series(names).gather(place)
    calendar = Calendar(plan.first, plan.months)
    opened = calendar.starts[loans.opened_month] + loans.opened_day
    loan_id = pl.Series(loans.number).cast(pl.String)
    book = pl.DataFrame(
        {
            "loan_id": loan_id,
            "product": name(loans.product, [p.name for p in PRODUCTS]),
            "channel": name(loans.channel, [c for c, _ in CHANNELS]),
            "opened_on": pl.Series(opened.astype(np.int32)).cast(pl.Date),
            "currency": "EUR",
            "original_amount": loans.amount / 100,
            "limit_amount": None,
        }
    )
    shares = pl.DataFrame({"loan_id": loan_id.gather(funding.loan), "partner": name(funding.partner, funding.names)})
    # A loan has a row each month from its first on.
    before = "lag(state) over (partition by loan_id order by month_on) as state_before"
    with duckdb.connect(config={"threads": 2}) as db:
        db.execute("attach ':memory:' as creditloom")
        db.register("book", book)
        db.register("shares", shares)
        db.register("partner_shares", shares.filter(pl.col("partner") != "own"))
        for schema in ("staging", "intermediate", "marts"):
            db.execute(f"create schema creditloom.{schema}")
        for table, rows in (
            ("staging.stg_loans", "book"),
            ("marts.dim_loans", "book"),
            ("staging.stg_funding_shares", "shares"),
            ("intermediate.int_partner_shares", "partner_shares"),
            ("marts.fct_loan_months", f"(select *, dpd_end as dpd_max, {before} from '{folder}/*.parquet')"),
        ):
            db.execute(f"create table creditloom.{table} as select '{SOURCE}' as source, * from {rows}")
        db.execute("use creditloom")
        yield db, truth


def _live(plan: Plan, folder: Path) -> tuple[Loans, pl.DataFrame]:
    """Simulate a book month by month, and write the loan months of each month to one Parquet file in `folder`.

    Returns the loans, and a frame with one row per loan and month-end at which the loan is open. The frame has the true
    PD (`pd`, null in default), the months on book (`mob`) and what is needed to assign a stage.
    """
    stress = macro_path(plan.seed, plan.months + HORIZON, plan.shock_month, steady=plan.steady)
    borrower = assign_borrowers(plan.seed, plan.loans)
    borrowers = make_borrowers(plan.seed, int(borrower.max()) + 1)
    loans = make_loans(plan.seed, borrower, borrowers, plan.opened_within or plan.months)
    drift = drift_path(loans, stress, plan.drift_month)
    ledger = Ledger(loans, plan.seed, stress, drift, draw_lots(plan.seed, loans, plan.deferral_month))
    calendar = Calendar(plan.first, plan.months)
    folder.mkdir(parents=True)
    states = np.full((plan.months, plan.loans), NOT_YET, dtype=np.int8)
    changed = np.full(plan.loans, NEVER)  # in which month its terms were
    open_months = []
    for month in range(plan.months):
        was_closed = ledger.state == CLOSED
        changed[ledger.restructure(month).loan] = month
        ledger.defer(month)
        ledger.advance(month)
        stated = ledger.close_statements(month)
        balance = np.full(plan.loans, 100.0)
        balance[stated.loan] = stated.balance / 100
        seen = np.flatnonzero((loans.opened_month <= month) & ~was_closed)
        state = ledger.state[seen]
        states[month, seen] = state
        end = np.full(len(seen), calendar.end(month), dtype=np.int32)
        rows = pl.DataFrame(
            {
                "loan_id": pl.Series(loans.number[seen]).cast(pl.String),
                "month_on": pl.Series(end).cast(pl.Date),
                "state": pl.Series(state).replace_strict(
                    {k: s for k, (s, _) in _STATES.items()}, return_dtype=pl.String
                ),
                "dpd_end": pl.Series(state).replace_strict(
                    {k: d for k, (_, d) in _STATES.items()}, return_dtype=pl.Int32
                ),
                "balance": np.where(state == CLOSED, 0, balance[seen]),
                "limit_amount": np.where(loans.is_card[seen], loans.amount[seen] / 100, np.nan),
                "is_default": state == DEFAULT,
            }
        ).with_columns(
            pl.col("limit_amount").fill_nan(None).cast(pl.Decimal(18, 2)), pl.col("balance").cast(pl.Decimal(18, 2))
        )
        rows.write_parquet(folder / f"{month:03}.parquet")
        age = month - loans.opened_month[seen]
        open_months.append(
            rows.with_columns(
                pl.Series("mob", age),
                pl.Series("remaining_months", np.maximum(ledger.instalments[seen] - age, 1)),
                pl.Series("is_forborne", (changed[seen] <= month) & (month - changed[seen] < FORBORNE)),
            )
            .filter(pl.col("state") != "closed")
            .select("loan_id", "month_on", "dpd_end", "balance", "is_default", "mob", "remaining_months", "is_forborne")
        )
    pds = loan_months(
        loans.number,
        loans.hazard,
        loans.opened_month,
        ledger.instalments,
        states,
        stress,
        drift,
        in_segment(loans),
        draw_lots(plan.seed, loans, plan.deferral_month),
        ledger.deferred_from,
        calendar,
    )
    true = pl.concat(pds).select("loan_id", "month_on", pd="pd_12m")
    return loans, pl.concat(open_months).join(true, on=["loan_id", "month_on"], how="left")
