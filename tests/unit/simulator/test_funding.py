"""Tests that the shares of each joint loan add up to 1."""

import polars as pl

from support.simulated_tables import table


def test_shares_of_a_joint_loan_add_up(book):
    shares = table(book, "funding").with_columns(pl.col("share").cast(pl.Decimal(9, 6)))
    loans = shares.group_by("loan_no").agg(
        pl.col("share").sum().alias("all"), pl.col("share").filter(pl.col("partner") == "own").sum().alias("own")
    )
    assert loans.filter(pl.col("all") != 1).is_empty()
    assert loans["own"].min() >= 0 and float(loans["own"].max()) <= 0.7
    assert 0.2 < loans.height / 4_000 < 0.35
    assert shares.select("loan_no", "partner").is_unique().all()
