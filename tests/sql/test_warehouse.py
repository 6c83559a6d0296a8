"""Tests that run dbt on the warehouse of a complete night, or read its tables.

They cover dbt's unit tests, a complete build, a build as of an earlier instant, and the figures of the cards.
"""

import duckdb
import pytest

from dagster_project.warehouse.runner import run_dbt
from support.homes import pipeline_in


def rows(home, query):
    with duckdb.connect(str(home / "warehouse/creditloom.duckdb"), read_only=True) as db:
        return db.sql(query).fetchall()


def test_build_with_unit_tests_is_clean(home_after_night):
    pipeline = pipeline_in(home_after_night)
    done = run_dbt(pipeline.settings, pipeline.policy, ["build", "--warn-error"], quiet=True)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "ERROR=0" in done.stdout
    assert "unit tests" in done.stdout


def test_known_as_of_hides_what_was_ingested_later(home_after_night):
    """If dbt builds as of an instant before the delivery was ingested, all marts are empty."""
    pipeline = pipeline_in(home_after_night)
    build = ["build", "--full-refresh", "--exclude-resource-type", "unit_test"]
    done = run_dbt(pipeline.settings, pipeline.policy, build, quiet=True, known_as_of="2000-01-01 00:00:00")
    assert done.returncode == 0, done.stdout[-3000:]
    for mart in (
        "dim_loans",
        "dim_borrowers",
        "fct_payments",
        "fct_loan_months",
        "feat_loan_months",
        "label_loan_months",
    ):
        assert rows(home_after_night, f"select count(*) from marts.{mart}") == [(0,)], mart


def test_dbt_without_policy_says_how_to_run_it(home_after_night):
    import os
    import subprocess

    from dagster_project.warehouse.runner import dbt_environment, dbt_executable

    pipeline = pipeline_in(home_after_night)
    project = str(pipeline.settings.dbt_project)
    environment = os.environ | pipeline.settings.tool_environment | dbt_environment(pipeline.settings)
    line = [dbt_executable(), "compile", "--project-dir", project, "--profiles-dir", project]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "creditloom dbt" in done.stdout


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("select count(*) from marts.dim_loans", 30_000),
        ("select count(*) from marts.fct_loan_months", 180_000),
        ("select count(*) from marts.feat_loan_months", 180_000),
        ("select count(*) from marts.feat_loan_months where is_live", 30_000),
        ("select count(*) from marts.label_loan_months", 30_000),
        ("select sum(label) from marts.label_loan_months", 6_636),
        ("select count(*) from marts.label_loan_months where exclusion_reason = 'in_default'", 463),
        ("select cast(sum(paid) as bigint) from marts.fct_loan_months", 949_541_777),
        ("select cast(sum(amount) as bigint) from marts.fct_payments", 949_541_777),
        ("select count(*) from marts.fct_loan_months where balance < 0", 3_932),
        ("select count(*) from marts.feat_loan_months where max_dpd_12m is not null", 0),
    ],
)
def test_figures_of_the_taiwan_cards(first_night, query, expected):
    assert rows(first_night, query) == [(expected,)]


def test_features_equal_an_independent_computation(first_night):
    """The features of every account for September 2005 equal those that Polars computes from the raw file."""
    import importlib.metadata

    import polars as pl

    (path,) = [f.locate() for f in importlib.metadata.files("mercury-robust") if str(f).endswith("UCI_Credit_card.csv")]
    wide = pl.read_csv(path).sort(pl.col("ID").cast(pl.String))
    util = [(pl.col(f"BILL_AMT{i}") / pl.col("LIMIT_BAL")).clip(0, 1.5) for i in range(1, 7)]
    late = [pl.max_horizontal(pl.col(c), 0) * 30 for c in ("PAY_0", "PAY_2", "PAY_3", "PAY_4", "PAY_5", "PAY_6")]
    owed = [pl.max_horizontal(pl.col(f"BILL_AMT{i}"), 0) for i in range(2, 7)]
    paid = [pl.col(f"PAY_AMT{i}") for i in range(1, 6)]
    ratio = lambda n: pl.when(pl.sum_horizontal(owed[:n]) > 0).then(
        (pl.sum_horizontal(paid[:n]) / pl.sum_horizontal(owed[:n])).clip(0, 3)
    )
    age = pl.concat_list([pl.when(late[i] >= 30).then(i) for i in range(6)]).list.min().fill_null(99)
    expected = wide.select(
        pl.col("ID").cast(pl.String).alias("loan_id"),
        max_dpd_3m=pl.max_horizontal(late[:3]),
        max_dpd_6m=pl.max_horizontal(late),
        cnt_dpd60_6m=pl.sum_horizontal((x >= 60).cast(pl.Int64) for x in late),
        months_since_dpd30=age,
        pay_ratio_3m=ratio(3),
        pay_ratio_6m=ratio(5),
        util_now=util[0],
        util_mean_6m=pl.mean_horizontal(util),
        util_trend_6m=sum(((2.5 - i) * util[i] for i in range(6)), pl.lit(0.0)) / 17.5,
        pay_amount_mean_6m=pl.mean_horizontal(pl.col(f"PAY_AMT{i}") for i in range(1, 7)),
        pay_status_5=pl.col("PAY_6"),
    )
    with duckdb.connect(str(first_night / "warehouse/creditloom.duckdb"), read_only=True) as db:
        found = db.sql(
            f"select {', '.join(expected.columns)} from marts.feat_loan_months where is_live order by loan_id"
        ).pl()
    for column in expected.columns[1:]:
        a, b = expected[column].cast(pl.Float64), found[column].cast(pl.Float64)
        assert a.is_null().equals(b.is_null()), column
        assert (a - b).abs().max() < 1e-8, column
