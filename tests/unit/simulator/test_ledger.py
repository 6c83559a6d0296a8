"""Tests that the events of a simulated book contain its write-offs and payment holidays."""

import polars as pl

from dagster_project.simulator.deferral import MONTHS as HOLIDAY
from support.simulated_tables import table


def test_write_offs_and_holidays_are_in_the_events(book):
    events, truth = table(book, "events"), pl.read_parquet(book / "truth/loans.parquet")
    loans_with = lambda kind: set(events.filter(pl.col("kind") == kind)["loan_no"])
    written_off = set(truth.filter("is_written_off")["loan_id"])
    assert loans_with("write_off") == written_off and len(written_off) > 50
    deferred = truth.drop_nulls("deferred_from")
    assert loans_with("deferral_start") == loans_with("deferral_end") == set(deferred["loan_id"])
    assert deferred.height > 200
    assert len(loans_with("restructured")) > 10
    # In a holiday nothing is due, nothing is paid, and nobody is behind.
    months = pl.read_parquet(book / "truth/loan_months/*.parquet").join(deferred, on="loan_id")
    within = (pl.col("month_on") > pl.col("deferred_from")) & (
        pl.col("month_on") < pl.col("deferred_from").dt.offset_by(f"{HOLIDAY}mo")
    )
    assert months.filter(within)["state"].unique().to_list() == ["current"]
    paid = table(book, "payments").select(pl.col("loan_no").alias("loan_id"), pl.col("paid_on").str.to_date())
    rests = pl.col("paid_on").is_between(
        pl.col("deferred_from"), pl.col("deferred_from").dt.offset_by(f"{HOLIDAY}mo"), closed="left"
    )
    assert paid.join(deferred, on="loan_id").filter(rests).is_empty()
