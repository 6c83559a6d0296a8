"""Tests of the split of observations into blocks, by borrower and by time."""

import datetime as dt

import polars as pl
import pytest

from ml.splits import assign, bucket
from support.training import POLICY, made, observations


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


def test_bucket_is_golden_and_a_borrower_has_one():
    # The first 16 hex digits of `printf 'creditloom-split-1|b0' | sha256sum`, modulo 100.
    assert [bucket(f"b{i}", "creditloom-split-1") for i in range(4)] == [14, 67, 33, 83]
    frame = pl.DataFrame({"borrower_id": ["x", "y", "x"], "row": [1, 2, 3], "month_on": [dt.date(2020, 1, 31)] * 3})
    out = assign(frame, POLICY.split)
    assert out["row"].to_list() == [1, 2, 3]
    assert out["block"][0] == out["block"][2]


def test_blocks_have_the_shares_of_the_policy():
    frame = pl.DataFrame({"borrower_id": [str(i) for i in range(20_000)]}).with_columns(month_on=dt.date(2020, 1, 31))
    shares = dict(assign(frame, POLICY.split).group_by("block").agg(pl.len() / 20_000).iter_rows())
    assert shares == pytest.approx({"train": 0.6, "val": 0.1, "cal": 0.1, "oos": 0.2}, abs=0.01)
