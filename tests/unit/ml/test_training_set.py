"""Tests of the training set: how a borrower's observations are thinned, and when a history is too short."""

import numpy as np
import polars as pl

from ml.training_set import too_short
from support.training import made, observations


def test_one_snapshot_a_borrower_and_year_is_used():
    training = made(*observations(50, 24))
    per_year = training.usable.group_by("borrower_id", pl.col("month_on").dt.year()).len()
    assert (per_year.height, set(per_year["len"])) == (100, {1})
    assert training.excluded == {"thinned": 50 * 24 - 100}
    assert training.usable["month_on"].dt.month().n_unique() > 6, "chosen by hash, not the first or last"


def test_sample_is_as_risky_as_the_months_that_it_is_drawn_from():
    """The sampled observations have the same default rate as the observations from which they were drawn.

    A loan that defaults has fewer observed months than other loans. If the sampled month were drawn only from a loan's
    own months, the months just before a default would be drawn too often.
    """
    features, labels = observations(4_000, 24)
    rng = np.random.default_rng(2)
    last = pl.DataFrame({"loan_id": [str(n) for n in range(4_000)], "last": rng.integers(0, 48, 4_000)})
    month = (pl.col("month_on").dt.year() - 2018) * 12 + pl.col("month_on").dt.month() - 1
    observed = labels.join(last, on="loan_id").filter(month < pl.col("last"))
    labels = observed.with_columns(label=(pl.col("last") <= month + 12).cast(pl.Int32)).drop("last")
    training = made(features.join(labels, on=["loan_id", "month_on"], how="semi"), labels)
    error = (0.25 / training.usable.height) ** 0.5
    assert abs(training.usable["label"].mean() - labels["label"].mean()) < 3 * error


def test_short_history_is_refused_with_its_numbers(tmp_path):
    training = made(*observations(50, 6))
    path = tmp_path / "t.parquet"
    training.frame.write_parquet(path)
    rows, defaults = training.usable.height, int(training.usable["label"].sum())
    assert too_short(path, rows, defaults) is None
    assert f"{rows} usable observations with {defaults} defaults" in too_short(path, rows + 1, defaults)
    assert too_short(path, rows, defaults + 1).endswith(f"needs {rows} with {defaults + 1}")
