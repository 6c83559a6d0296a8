"""Tests of simulated cards: each statement continues the previous one, and the arrears match the simulated states."""

import polars as pl

from dagster_project.simulator import ledger
from dagster_project.simulator.simulate import Plan, simulate
from support.simulated_tables import cents, table


def test_statements_of_cards_carry_on(book):
    """Each card statement continues the statement of the month before.

    The balance is the previous balance less the payments, plus interest on that difference, plus purchases.
    """
    cards = table(book, "loans").filter(pl.col("product") == "card").select("loan_no", "annual_rate", "limit")
    rows = table(book, "statements").join(cards, on="loan_no").sort("loan_no", "month_on")
    rows = rows.with_columns(cents(c) for c in ("balance", "purchases", "due", "paid"))
    rows = rows.with_columns(before=pl.col("balance").shift(1).over("loan_no")).drop_nulls("before")
    left = pl.col("before") - pl.col("paid")
    interest = (left * pl.col("annual_rate").cast(pl.Float64) / 12).round().cast(pl.Int64)
    assert (
        rows.height > 3_000
        and (rows["balance"] == rows.select(left + interest + pl.col("purchases")).to_series()).all()
    )
    assert (rows["due"] > 0).all() and (rows["due"] <= rows["before"]).all()
    within = rows.filter(pl.col("purchases") > 10_000)
    assert (within["balance"] <= within["limit"].cast(pl.Float64) * 100 + 1).all()
    months = pl.read_parquet(book / "truth/loan_months/*.parquet").join(cards, left_on="loan_id", right_on="loan_no")
    assert {"current", "1 behind", "2 behind", "3 behind", "default", "closed"} == set(months["state"])


def test_cards_are_as_far_behind_as_the_chain_says(tmp_path, monkeypatch):
    """The number of unpaid minimum payments of each card matches the card's state in the truth.

    The number is computed only from schedules and payments. Payments settle the oldest minimum first. `RECOVERY` is set
    to 1, so that every card in default makes payments.
    """
    monkeypatch.setattr(ledger, "RECOVERY", 1.0)
    simulate(Plan(6_000, 22, seed=5, opened_within=1, planted=frozenset({"cohort_month"})), tmp_path)
    cards = table(tmp_path, "loans").filter(pl.col("product") == "card").select("loan_no")
    due = table(tmp_path, "schedules").join(cards, on="loan_no").filter(pl.col("instalment_no") == "1")
    due = due.sort("loan_no", "due_on", "valid_from").unique(["loan_no", "due_on"], keep="last", maintain_order=True)
    due = due.select("loan_no", "due_on", due_so_far=cents("amount").cum_sum().over("loan_no"))
    paid = (
        table(tmp_path, "payments")
        .join(cards, on="loan_no")
        .select("loan_no", "paid_on", cents("amount"))
        .sort("paid_on")
    )
    paid = paid.select("loan_no", "paid_on", paid_so_far=pl.col("amount").cum_sum().over("loan_no"))
    months = pl.read_parquet(tmp_path / "truth/loan_months/*.parquet")
    asked = months.select(pl.col("loan_id").alias("loan_no"), pl.col("month_on").cast(pl.String), "state")
    asked = asked.join(cards, on="loan_no").sort("month_on")
    unpaid = (
        asked.join(paid, on="loan_no", how="left")
        .group_by("loan_no", "month_on", "state")
        .agg(pl.col("paid_so_far").filter(pl.col("paid_on") <= pl.col("month_on")).last().fill_null(0))
        .join(due, on="loan_no")
        .filter(pl.col("due_on") <= pl.col("month_on"))
        .group_by("loan_no", "month_on", "state")
        .agg((pl.col("due_so_far") > pl.col("paid_so_far")).sum().alias("behind"))
    )
    behind = {"current": 0, "1 behind": 1, "2 behind": 2, "3 behind": 3, "default": 4, "closed": 0}
    expected = pl.col("state").cast(pl.String).replace_strict(behind, return_dtype=pl.Int64)
    wrong = unpaid.filter(pl.col("behind").cast(pl.Int64).clip(0, 4) != expected)
    assert wrong.is_empty() and unpaid.height > 2_000, wrong
