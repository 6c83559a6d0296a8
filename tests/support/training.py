"""Helpers to build small books of loans and training sets."""

import datetime as dt

import duckdb
import numpy as np
import polars as pl

from dagster_project.home.settings import PROJECT_ROOT
from dagster_project.policy import load_policy
from ml.features import FEATURE_NAMES
from ml.training_set import TrainingSet, build

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


def book(rows=3000, seed=0) -> pl.DataFrame:
    """Return a random book of `rows` accounts, with every feature and a label.

    Late payers and accounts with high utilisation default more often. The features over 12 months are null.
    """
    rng = np.random.default_rng(seed)
    late, used = rng.integers(0, 4, rows), rng.random(rows) * 1.4
    columns = {name: rng.random(rows) for name in FEATURE_NAMES}
    columns |= dict.fromkeys(("dpd_now", "max_dpd_3m", "max_dpd_6m"), late * 30.0)
    columns |= dict.fromkeys(("util_now", "util_mean_3m", "util_mean_6m"), used)
    columns |= {"limit_amount": rng.choice([1e4, 1e5], rows), "bill_amount": used * 1e4}
    label = rng.random(rows) < 1 / (1 + np.exp(-(-2.5 + 0.8 * late + 0.8 * used)))
    frame = pl.DataFrame(columns).with_columns(
        pl.lit(None, dtype=pl.Float64).alias(n) for n in FEATURE_NAMES if n.endswith("_12m")
    )
    return frame.with_columns(
        label=pl.Series(label.astype(int)),
        source=pl.lit("s"),
        loan_id=pl.Series([f"{i:05}" for i in range(rows)]),
        month_on=pl.lit(dt.date(2005, 9, 30)),
        in_default=pl.Series(late == 3),
        zero_balance=pl.lit(value=False),
        is_live=pl.lit(value=True),
    )
