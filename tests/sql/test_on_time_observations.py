"""The test that the fast path for loans that pay on time gives the same features as the full path."""

import duckdb
import polars as pl
import pytest

from dagster_project.ingestion.intake import ingest
from dagster_project.ingestion.lake.files import select
from dagster_project.simulator.simulate import Plan, simulate
from dagster_project.warehouse.runner import run_dbt
from support.homes import copy_home, pipeline_in


@pytest.fixture(params=["statements", "ledger"])
def built(request, first_night, tmp_path):
    """Return the pipeline of a home whose warehouse has been built.

    With the parameter `statements`, the source is the cards, which have statuses and limits. With `ledger`, it is the
    simulated loans, which have schedules, arrears and restructurings.
    """
    if request.param == "statements":
        return pipeline_in(copy_home(first_night, tmp_path / "home"))
    simulate(Plan(400, 18, seed=5), tmp_path / "home")
    pipeline = pipeline_in(tmp_path / "home")
    source = pipeline.sources["simulated"]
    receipts = ingest(source, pipeline.ingest_context, pipeline.now())
    for name in pipeline.sources:
        select(pipeline.settings.lake, pipeline.settings.selection, name, receipts if name == source.name else [])
    _build(pipeline, "build", "--exclude-resource-type", "unit_test")
    return pipeline


def test_fast_path_gives_the_same_features_as_the_full_path(built):
    short, on_time_loans = _features(built)
    assert on_time_loans > 0.9 * short["loan_id"].n_unique(), "the comparison means something: most loans take the path"
    _build(built, "run", "--select", "int_on_time_loans+", fast_path=False)
    long, on_time_loans = _features(built)
    assert on_time_loans == 0
    assert long.height == short.height > 1_000
    different = [name for name in short.columns if not short[name].equals(long[name])]
    assert different == []


def _build(pipeline, *command, **more_vars):
    done = run_dbt(pipeline.settings, pipeline.policy, command, quiet=True, **more_vars)
    assert done.returncode == 0, done.stdout[-3000:]


def _features(pipeline) -> tuple[pl.DataFrame, int]:
    with duckdb.connect(str(pipeline.settings.warehouse_file), read_only=True) as db:
        on_time_loans = db.execute("select count(*) from intermediate.int_on_time_loans").fetchall()[0][0]
        return db.sql("select * from marts.feat_loan_months").pl().sort("source", "loan_id", "month_on"), on_time_loans
