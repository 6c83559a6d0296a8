"""Repeated snapshots of one borrower: thinned, kept on one side, and their interval taken over borrowers."""

import datetime as dt

import duckdb
import numpy as np
import polars as pl
import pytest

from dagster_project.home.settings import PROJECT_ROOT
from dagster_project.ingestion.contracts.source import load_sources
from dagster_project.ingestion.lake.landing import waiting
from dagster_project.policy import load_policy
from ml.features import FEATURE_NAMES
from ml.training_set import TrainingSet, build, too_short
from ml.validate import auc, auc_interval, auc_standard_error, clustered_standard_error
from support.homes import pipeline_in

POLICY = load_policy(PROJECT_ROOT / "policy/default.yaml")


def observations(borrowers: int, months: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    days = [dt.date(2018 + m // 12, m % 12 + 1, 28) for m in range(months)]
    keys = pl.DataFrame({"loan_id": [f"{b}" for b in range(borrowers)]}).join(
        pl.DataFrame({"month_on": days}), how="cross"
    )
    keys = keys.with_columns(source=pl.lit("s"))
    labels = keys.with_columns(label=pl.lit(0), exclusion_reason=pl.lit(None, dtype=pl.String))
    nulls = {name: pl.lit(None, dtype=pl.Float64) for name in FEATURE_NAMES}
    features = keys.with_columns(borrower_id=pl.col("loan_id"), in_default=pl.lit(value=False), **nulls)
    return features, labels


def made(features: pl.DataFrame, labels: pl.DataFrame) -> TrainingSet:
    with duckdb.connect() as db:
        db.register("features", features)
        db.register("labels", labels)
        return build(db, "labels", "features", "s", POLICY.split)


def test_one_snapshot_a_borrower_and_year_is_used():
    training = made(*observations(50, 24))
    per_year = training.usable.group_by("borrower_id", pl.col("month_on").dt.year()).len()
    assert (per_year.height, set(per_year["len"])) == (100, {1})
    assert training.excluded == {"thinned": 50 * 24 - 100}
    assert training.usable["month_on"].dt.month().n_unique() > 6, "chosen by hash, not the first or last"


def test_sample_is_as_risky_as_the_months_that_it_is_drawn_from():
    """A loan that defaults has fewer months before it: the month must not be drawn from those that there are."""
    features, labels = observations(4_000, 24)
    rng = np.random.default_rng(2)
    last = pl.DataFrame({"loan_id": [str(n) for n in range(4_000)], "last": rng.integers(0, 48, 4_000)})
    month = (pl.col("month_on").dt.year() - 2018) * 12 + pl.col("month_on").dt.month() - 1
    known = labels.join(last, on="loan_id").filter(month < pl.col("last"))
    labels = known.with_columns(label=(pl.col("last") <= month + 12).cast(pl.Int32)).drop("last")
    training = made(features.join(labels, on=["loan_id", "month_on"], how="semi"), labels)
    error = (0.25 / training.usable.height) ** 0.5
    assert abs(training.usable["label"].mean() - labels["label"].mean()) < 3 * error


def test_last_months_are_set_apart_out_of_time_and_the_rest_by_borrower():
    frame = made(*observations(300, 24)).frame
    late = frame.filter(pl.col("block") == "oot")
    assert late["month_on"].n_unique() == 6
    assert late["month_on"].min() > frame.filter(pl.col("block") != "oot")["month_on"].max()
    assert (
        frame.filter(pl.col("block") != "oot").group_by("borrower_id").agg(pl.col("block").n_unique())["block"].max()
        == 1
    )


def test_short_history_has_no_out_of_time_block():
    assert "oot" not in set(made(*observations(50, 6)).frame["block"])


def test_short_history_is_told_in_numbers(tmp_path):
    training = made(*observations(50, 6))
    path = tmp_path / "t.parquet"
    training.frame.write_parquet(path)
    rows, defaults = training.usable.height, int(training.usable["label"].sum())
    assert too_short(path, rows, defaults) is None
    assert f"{rows} usable observations with {defaults} defaults" in too_short(path, rows + 1, defaults)
    assert too_short(path, rows, defaults + 1).endswith(f"needs {rows} with {defaults + 1}")


def test_interval_is_taken_over_borrowers():
    """Twelve copies of each row tell nothing new: the interval stays, where DeLong's would shrink by 3.5."""
    rng = np.random.default_rng(0)
    y = (rng.random(400) < 0.2).astype(float)
    risk = y + rng.normal(size=400)
    once = auc_interval(y, risk)
    twelve = auc_interval(np.repeat(y, 12), np.repeat(risk, 12), np.repeat(np.arange(400), 12))
    assert twelve == pytest.approx(once, abs=0.012)
    assert twelve[0] < auc(y, risk) < twelve[1]


def test_closed_form_for_borrowers_is_what_the_bootstrap_says():
    rng = np.random.default_rng(5)
    owner = np.repeat(np.arange(3_000), 4)
    risk = np.repeat(rng.normal(size=3_000), 4) + 0.5 * rng.normal(size=12_000)
    y = (rng.random(12_000) < 1 / (1 + np.exp(2 - np.repeat(rng.normal(size=3_000), 4) - risk))).astype(float)
    low, high = auc_interval(y, risk, owner)
    error = clustered_standard_error(y, risk, owner)
    assert error == pytest.approx((high - low) / 2 / 1.959964, rel=0.05)
    assert error > 1.1 * auc_standard_error(y, risk), "rows of one borrower go together here"
    assert clustered_standard_error(y, risk, np.arange(12_000)) == pytest.approx(auc_standard_error(y, risk), rel=1e-3)


def test_tapes_become_loans_statements_and_payments():
    source = load_sources()["ally_auto"]
    assert [source.contract.layout_of(n).name for n in ("loans.csv", "2017-05.csv")] == [
        "origination_tape",
        "monthly_tape",
    ]
    assert source.contract.layout_of("outcomes.csv") is None, "derived, for checking only: never an input"
    month = dt.date(2017, 5, 31)
    tape = pl.DataFrame(
        {
            "line_no": [2, 3],
            "assetNumber": ["1", "2"],
            "reportingPeriodEndingDate": [month, month],
            **{
                name: pl.Series(values, dtype=pl.Decimal(18, 2))
                for name, values in {
                    "reportingPeriodActualEndBalanceAmount": ["10.00", "20.00"],
                    "actualPrincipalCollectedAmount": ["1.00", "0.00"],
                    "totalActualAmountPaid": ["1.50", "0.00"],
                }.items()
            },
        }
    )
    made = source.adapt("monthly_tape", tape, source.contract)
    assert made["statements"]["known_at"].to_list() == [dt.date(2017, 6, 15)] * 2
    assert made["payments"]["payment_id"].to_list() == ["1-201705"]


def test_replayed_day_sees_only_what_had_arrived(pipeline):
    """A tape's name tells its month; it arrives when the contract says that a month is out."""
    source, folder = pipeline.sources["ally_auto"], pipeline.ingest_context.landing / "ally_auto"
    folder.mkdir(parents=True)
    for name in ("loans.csv", "2017-05.csv", "2017-06.csv"):
        (folder / name).touch()
    assert source.contract.arrives_on("2017-05.csv") == dt.date(2017, 6, 15)
    assert source.contract.arrives_on("2017-13.csv") is None
    names = lambda on: [p.name for p in waiting(source, pipeline.ingest_context, on)]
    assert names(dt.date(2017, 6, 14)) == ["loans.csv"]
    assert names(dt.date(2017, 6, 15)) == ["2017-05.csv", "loans.csv"]
    assert names(None) == ["2017-05.csv", "2017-06.csv", "loans.csv"]


def test_replayed_night_takes_the_day_for_its_clock(tmp_path):
    assert pipeline_in(tmp_path, on=dt.date(2017, 6, 15)).now() == dt.datetime(2017, 6, 15, 2)
