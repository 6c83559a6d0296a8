"""Tests that the benchmarks' floor gives the same rows as a night.

The floor is a second, independent implementation of a night's rules. If the two give different rows, one of them is
wrong, and comparing their speed is meaningless.
"""

import json
import subprocess
import sys
from pathlib import Path

import duckdb
import polars as pl
import pytest

from dagster_project.home.settings import PROJECT_ROOT
from dagster_project.simulator.simulate import Plan, simulate
from dagster_project.warehouse.runner import run_dbt
from ml import training_set
from ml.features import FEATURE_NAMES
from support.simulated import simulated_in, take_in_whole

KEYS = ["loan_id", "month_on"]
RATIO = 1e-6
BUCKETS = 3


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """Return a home with a simulated book on which both dbt and the floor have run.

    The book includes cards, restructurings, payment holidays, prepayments and reversals. The floor's tables are in the
    folder `floor` of the home, and its report is in `floor.json`.
    """
    home = tmp_path_factory.mktemp("floor") / "home"
    simulate(Plan(2_000, 36, seed=11, opened_within=14, shock_month=10, deferral_month=12), home)
    pipeline = simulated_in(home)
    floor = (sys.executable, PROJECT_ROOT / "benchmarks/floor.py", home / "landing/simulated", home / "floor")
    done = subprocess.run(
        [*floor, "--policy", home / "policy.yaml", "--buckets", str(BUCKETS)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (home / "floor.json").write_text(done.stdout)
    take_in_whole(pipeline)
    ran = run_dbt(pipeline.settings, pipeline.policy, ["run"], quiet=True)
    assert ran.returncode == 0, ran.stdout[-3000:]
    return home


def marts(home: Path, table: str) -> pl.DataFrame:
    with duckdb.connect(str(home / "warehouse/creditloom.duckdb"), read_only=True) as db:
        return db.sql(f"from marts.{table}").pl().sort(KEYS)


def floors(home: Path, table: str) -> pl.DataFrame:
    return pl.read_parquet(home / "floor" / table / "*.parquet").sort(KEYS)


def assert_same(night: pl.DataFrame, floor: pl.DataFrame, columns: list[str]) -> None:
    """Check that two tables have the same keys in the same order, and the same values in `columns`.

    Floating-point values may differ by up to `RATIO`. All other values must be identical.
    """
    assert night.select(KEYS).equals(floor.select(KEYS)), (
        f"{night.height} rows of the night, {floor.height} of the floor"
    )
    for name in columns:
        one, other = night[name], floor[name]
        if one.dtype == pl.Float64:
            differs = one.is_null() != other.is_null()
            differs |= ((one - other).abs() > RATIO).fill_null(value=False)
        else:
            differs = one.ne_missing(other)
        rows = night.select(*KEYS, name).with_columns(floor=other).filter(differs)
        assert rows.is_empty(), rows


def test_loan_months_are_the_nights(home):
    night, floor = marts(home, "fct_loan_months"), floors(home, "loan_months")
    assert night["is_default"].sum() > 100 and (night["state"] == "written_off").sum() > 100
    with duckdb.connect(str(home / "warehouse/creditloom.duckdb"), read_only=True) as db:
        (taken_back,) = db.execute("select count(*) from marts.fct_payments where amount < 0").fetchall()[0]
        (versions,) = db.execute("select count(distinct (loan_id, valid_from)) from staging.stg_schedules").fetchall()[
            0
        ]
    assert taken_back > 50 and versions > 2_100
    columns = ["dpd_max", "dpd_end", "due", "paid", "balance", "limit_amount", "is_default", "state", "known_on"]
    assert_same(night, floor, columns)


def test_features_are_the_nights(home):
    night, floor = marts(home, "feat_loan_months"), floors(home, "features")
    ours = [name for name in FEATURE_NAMES if name in floor.columns]
    others = [name for name in FEATURE_NAMES if name not in floor.columns]
    assert set(others) == {f"pay_status_{k}" for k in range(6)}
    assert night["util_trend_6m"].count() > 500
    assert night.select(pl.col(others).null_count()).row(0) == (night.height,) * len(others)
    assert_same(night, floor, ["borrower_id", "is_live", "in_default", "zero_balance", *ours])


def test_labels_are_the_nights(home):
    night, floor = marts(home, "label_loan_months"), floors(home, "labels")
    assert night["exclusion_reason"].n_unique() > 2 and night["label"].sum() > 100
    assert_same(night, floor, ["label", "exclusion_reason"])


def test_model_learns_from_the_same_rows(home):
    policy = simulated_in(home).policy
    with duckdb.connect(str(home / "warehouse/creditloom.duckdb"), read_only=True) as db:
        made = training_set.build(db, "marts.label_loan_months", "marts.feat_loan_months", "simulated", policy.split)
    night = made.usable.sort(KEYS)
    floor = pl.read_parquet(home / "floor/training.parquet")
    assert night["block"].n_unique() == 5
    assert_same(night, floor, ["block", "label"])


def test_every_check_of_the_floor_passes(home):
    result = json.loads((home / "floor.json").read_text())
    assert result["checks"] > 100 and result["failing"] == {}
    assert result["rows"]["scores"] == marts(home, "feat_loan_months")["is_live"].sum()
