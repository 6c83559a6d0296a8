"""Simulated books on the short way to early warnings: the simulator's own months, through the night's SQL."""

from pathlib import Path

import duckdb
import numpy as np
import polars as pl

from dagster_project.dbt_project import run_dbt
from dagster_project.early_warning.evaluate import FIGURES
from dagster_project.resources import Pipeline
from dagster_project.simulator.behaviour import CLOSED, DEFAULT
from dagster_project.simulator.borrowers import make_borrowers
from dagster_project.simulator.clock import Calendar
from dagster_project.simulator.deferral import draw_lots
from dagster_project.simulator.drift import drift_path
from dagster_project.simulator.funding import draw_funding
from dagster_project.simulator.ledger import Ledger
from dagster_project.simulator.macro import macro_path
from dagster_project.simulator.products import CHANNELS, PRODUCTS, assign_borrowers, make_loans
from dagster_project.simulator.simulate import Plan
from dagster_project.simulator.truth import HORIZON

MODEL = "monitor_early_warning_figures"
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
    """The SQL that the night runs for a model; for the figures, if none is named."""
    pipeline.settings.warehouse.mkdir(parents=True, exist_ok=True)
    done = run_dbt(pipeline.settings, pipeline.policy, ["compile", "--quiet", "--select", model], quiet=True)
    assert done.returncode == 0, done.stdout
    return next(pipeline.settings.dbt_target.rglob(f"compiled/**/{model}.sql")).read_text()


def figures_of(plan: Plan, sql: str, folder: Path) -> pl.DataFrame:
    """The figures of a plan's book, without its files: the simulator's chain month by month."""
    found = _asked(plan, sql, folder).with_columns(expected=pl.lit(None))
    return found.select(pl.col(column).cast(dtype) for column, dtype in FIGURES.items())


def vintages_of(plan: Plan, sql: str, folder: Path) -> pl.DataFrame:
    """`port_vintages` of a plan's book, made in the same way."""
    return _asked(plan, sql, folder)


def _asked(plan: Plan, sql: str, folder: Path) -> pl.DataFrame:
    """What a model's SQL says of a plan's book."""
    loans = _live(plan, folder)
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
        for schema in ("staging", "marts"):
            db.execute(f"create schema creditloom.{schema}")
        for table, rows in (
            ("staging.stg_loans", "book"),
            ("marts.dim_loans", "book"),
            ("staging.stg_funding_shares", "shares"),
            ("marts.fct_loan_months", f"(select *, dpd_end as dpd_max, {before} from '{folder}/*.parquet')"),
        ):
            db.execute(f"create table creditloom.{table} as select 'simulated' as source, * from {rows}")
        return db.sql(sql).pl()


def _live(plan: Plan, folder: Path):
    """Live through a book; its months go to one file each. Returns the loans."""
    stress = macro_path(plan.seed, plan.months + HORIZON, plan.shock_month, steady=plan.steady)
    borrower = assign_borrowers(plan.seed, plan.loans)
    borrowers = make_borrowers(plan.seed, int(borrower.max()) + 1)
    loans = make_loans(plan.seed, borrower, borrowers, plan.opened_within or plan.months)
    drift = drift_path(loans, stress, plan.drift_month)
    ledger = Ledger(loans, plan.seed, stress, drift, draw_lots(plan.seed, loans, plan.deferral_month))
    calendar = Calendar(plan.first, plan.months)
    folder.mkdir(parents=True)
    for month in range(plan.months):
        was_closed = ledger.state == CLOSED
        ledger.restructure(month)
        ledger.defer(month)
        ledger.advance(month)
        stated = ledger.close_statements(month)
        balance = np.full(plan.loans, 100.0)
        balance[stated.loan] = stated.balance / 100
        seen = np.flatnonzero((loans.opened_month <= month) & ~was_closed)
        state = ledger.state[seen]
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
    return loans
