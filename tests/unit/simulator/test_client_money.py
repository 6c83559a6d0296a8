"""Tests that client money adds up on each day."""

import datetime as dt

import polars as pl

from support.simulated_tables import cents, table


def test_client_money_adds_up_each_day_and_is_what_borrowers_pay(book):
    money = table(book, "client_money").with_columns(cents("amount"))
    by_day = money.group_by("booked_on").agg(
        pl.col("amount").filter(pl.col("kind") == kind).sum().alias(kind)
        for kind in ("received", "allocated", "refunded")
    )
    by_day = by_day.sort("booked_on").with_columns(
        left=(pl.col("received") - pl.col("allocated") - pl.col("refunded")).cum_sum()
    )
    assert by_day["left"].min() == 0 and by_day["left"].max() > 0
    assert by_day["refunded"].sum() > 0 and money["booking_no"].is_unique().all()
    joint = table(book, "funding").select("loan_no").unique()
    days = pl.col("paid_on").str.to_date() <= dt.date(2019, 12, 31) - dt.timedelta(days=6)
    paid = table(book, "payments").join(joint, on="loan_no", how="semi").filter(days)
    allocated = money.filter(pl.col("kind") == "allocated")
    assert set(allocated["loan_no"]) <= set(joint["loan_no"])
    # A double booking is taken back by another, and moves no money; the last days' payments may wait to be allocated.
    ends_with = lambda digits: pl.col("payment_no").str.slice(-1).is_in(digits)
    moved = paid.filter(~ends_with(["3", "4"]))
    numbers = allocated.select(pl.col("booking_no").str.slice(0, pl.col("booking_no").str.len_chars() - 1), "amount")
    both = moved.join(numbers, left_on="payment_no", right_on="booking_no", how="left", suffix="_allocated")
    assert both.filter(cents("amount") != pl.col("amount_allocated")).is_empty()
    assert both["amount_allocated"].null_count() == 0 and both.height > 5_000
