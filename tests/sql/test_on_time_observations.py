"""Features of loans that are known on time take a fast path; without it they are the same."""

import duckdb
import polars as pl
import pytest
from tests_support import copy_home, pipeline_in

from dagster_project.dbt_project import run_dbt
from dagster_project.ingestion.deliver import ingest
from dagster_project.ingestion.lake import select
from dagster_project.simulator.simulate import Plan, simulate


@pytest.fixture(params=["statements", "ledger"])
def built(request, first_night, tmp_path):
    """A built warehouse: cards have statuses and limits, the simulated loans schedules, arrears and restructurings."""
    if request.param == "statements":
        return pipeline_in(copy_home(first_night, tmp_path / "home"))
    simulate(Plan(400, 18, seed=5), tmp_path / "home")
    pipeline = pipeline_in(tmp_path / "home")
    source = pipeline.sources["simulated"]
    receipts = ingest(source, pipeline.border, pipeline.now())
    for name in pipeline.sources:
        select(pipeline.settings.lake, pipeline.settings.selection, name, receipts if name == source.name else [])
    _build(pipeline, "build", "--exclude-resource-type", "unit_test")
    return pipeline


def test_fast_path_gives_the_same_features(built):
    fast, on_time = _features(built)
    assert on_time > 0.9 * fast["loan_id"].n_unique(), "most loans take the fast path: the comparison means something"
    _build(built, "run", "--select", "int_on_time_loans+", fast_path=False)
    long, on_time = _features(built)
    assert on_time == 0
    assert long.height == fast.height > 1_000
    different = [name for name in fast.columns if not fast[name].equals(long[name])]
    assert different == []


def _build(pipeline, *command, **more_vars):
    done = run_dbt(pipeline.settings, pipeline.policy, command, quiet=True, **more_vars)
    assert done.returncode == 0, done.stdout[-3000:]


def _features(pipeline) -> tuple[pl.DataFrame, int]:
    with duckdb.connect(str(pipeline.settings.warehouse_file), read_only=True) as db:
        on_time = db.execute("select count(*) from intermediate.int_on_time_loans").fetchall()[0][0]
        return db.sql("select * from marts.feat_loan_months").pl().sort("source", "loan_id", "month_on"), on_time
