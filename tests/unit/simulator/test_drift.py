"""Tests that the arrears of one segment rise as planned."""

import datetime as dt

import polars as pl

from dagster_project.simulator.simulate import Plan, simulate
from support.simulated_tables import table


def test_segment_drifts_as_planned(tmp_path):
    """The share of car loans that are 30 or more days past due rises from 1.76 % to 3.01 % within four months.

    Loans in default are left out of the share. Each monthly share may differ from the plan by up to three standard
    errors.
    """
    simulate(Plan(40_000, 23, seed=6, drift_month=18), tmp_path)
    loans = table(tmp_path, "loans")
    cars = loans.filter(pl.col("product") == "car_loan").select(pl.col("loan_no").alias("loan_id"))
    months = pl.read_parquet(tmp_path / "truth/loan_months/*.parquet").join(cars, on="loan_id", how="semi")
    open_ones = months.filter(~pl.col("state").is_in(["default", "closed"]), pl.col("month_on") >= dt.date(2019, 7, 31))
    late = pl.col("state").is_in(["2 behind", "3 behind"])
    shares = open_ones.group_by("month_on").agg(pl.len(), late.mean().alias("share")).sort("month_on")
    wanted = [0.0176 + 0.0125 * k / 4 for k in range(5)]
    assert shares.height == 5
    for (_, count, share), expected in zip(shares.iter_rows(), wanted, strict=True):
        assert abs(share - expected) < 3 * (expected * (1 - expected) / count) ** 0.5, shares
