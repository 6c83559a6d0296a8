"""A simulated book goes through ingestion and dbt, and every month of every loan is what the simulator says it is."""

import datetime as dt
from pathlib import Path

import duckdb
import polars as pl
import pytest
import yaml

from dagster_project.dbt_project import run_dbt
from dagster_project.ingestion.deliver import ingest
from dagster_project.ingestion.lake import select
from dagster_project.ingestion.receipts import State
from dagster_project.resources import Pipeline, load_pipeline
from dagster_project.settings import PROJECT_ROOT, Settings
from dagster_project.simulator.simulate import Plan, simulate

LOANS, MONTHS = 2_000, 24
NOW = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
LENDER = {
    "arrears_basis": "ledger",
    "feature_lag_days": 1,
    "label_horizon_months": 12,
    "observe_from_month": 1,
    "default_dpd_min": 90,
    "score_anchor": {"score": 600, "odds": 20},
}


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Pipeline:
    """The book in a home whose policy is the default one with the simulated source, taken in and built by dbt."""
    home = tmp_path_factory.mktemp("simulated") / "home"
    simulate(Plan(LOANS, MONTHS, seed=7, shock_month=12), home)
    policy = yaml.safe_load((PROJECT_ROOT / "policy/default.yaml").read_text())
    policy["sources"] = {"simulated": LENDER}
    (home / "policy.yaml").write_text(yaml.safe_dump(policy, sort_keys=False))
    pipeline = load_pipeline(Settings(home=home, policy=home / "policy.yaml"))
    one_file_a_table(pipeline.settings.landing / "simulated")
    receipts = ingest(pipeline.sources["simulated"], pipeline.border, NOW)
    assert {r.state for r in receipts} == {State.ACCEPTED}
    assert sum(r.quarantined_rows + r.duplicate_rows for r in receipts) == 0
    select(pipeline.settings.lake, pipeline.settings.selection, "simulated", receipts)
    done = run_dbt(pipeline.settings, pipeline.policy, ["build", "--exclude-resource-type", "unit_test"], quiet=True)
    assert done.returncode == 0, done.stdout[-3000:]
    return pipeline


def one_file_a_table(landing: Path) -> None:
    """The days' files of each table as one: 3,000 files take minutes, and a row tells its day itself."""
    for table in ("borrowers", "attributes", "loans", "schedules", "payments"):
        files = sorted(landing.glob(f"{table}-*.csv"))
        header = files[0].read_bytes().split(b"\n", 1)[0] + b"\n"
        rows = [f.read_bytes().split(b"\n", 1)[1] for f in files]
        for file in files:
            file.unlink()
        files[-1].write_bytes(header + b"".join(rows))


def months_of(home: Path) -> pl.DataFrame:
    with duckdb.connect(str(home / "warehouse/creditloom.duckdb"), read_only=True) as db:
        return db.sql("select loan_id, month_on, dpd_end, state, is_default, balance from marts.fct_loan_months").pl()


def test_every_month_is_what_the_simulator_says(built):
    found = months_of(built.settings.home)
    truth = pl.read_parquet(built.settings.home / "truth/loan_months/*.parquet")
    assert found["month_on"].max() == truth["month_on"].max(), "the last day of the book reported something"
    both = truth.join(found, on=["loan_id", "month_on"], how="full", coalesce=True)
    assert both.height == truth.height == found.height, "no month more or less"
    wrong = both.filter((pl.col("state") == "default") != pl.col("is_default"))
    assert wrong.is_empty(), wrong
    said = {"current": "current", "1 behind": "1-30", "closed": "closed"}
    for state, bucket in said.items():
        in_state = both.filter(pl.col("state") == state)
        assert in_state.height > 100
        assert in_state.filter(pl.col("state_right") != bucket).is_empty(), in_state
    most = {"2 behind": (28, 62), "3 behind": (59, 89), "default": (93, 10_000)}
    for state, (low, high) in most.items():
        in_state = both.filter(pl.col("state") == state)
        assert in_state.height > 100
        assert in_state.filter(~pl.col("dpd_end").is_between(low, high)).is_empty(), in_state
    assert both.filter((pl.col("state") == "closed") & (pl.col("balance") != 0)).is_empty()


def test_book_holds_what_it_should(built):
    """What the comparison is worth: how often each case occurs."""
    with duckdb.connect(str(built.settings.home / "warehouse/creditloom.duckdb"), read_only=True) as db:
        (row,) = (
            db.sql(
                "select (select count(*) from marts.fct_payments where amount < 0) as taken_back,"
                " (select count(distinct loan_id) from staging.stg_schedules where instalment_no = 1 and principal > 0"
                "  and due_on = valid_from) as prepaid,"
                " (select count(*) from (select loan_id from staging.stg_schedules group by loan_id"
                "  having count(distinct case when due_on > valid_from then valid_from end) > 1)) as restructured,"
                " (select count(*) from marts.fct_loan_months where is_default) as defaults"
            )
            .pl()
            .rows(named=True)
        )
    assert row["taken_back"] > 100 and row["prepaid"] > 100 and row["defaults"] > 100, row
    assert row["restructured"] >= 5, row
