"""Tests that all planted fraud is listed, and that it has the pattern that its fraud rule looks for."""

import polars as pl
import pytest

from dagster_project.simulator.planted import FRAUD, PlanError, switches
from dagster_project.simulator.simulate import Plan, simulate
from support.simulated_tables import cents, table


def test_what_is_planted_is_listed(book):
    """Everything that was planted is in the list of planted items.

    Fraud loans are in the truth's list of loans, but not in its loan months. Each of their payments either follows the
    schedule or is listed. Each payment that was booked late is listed too.
    """
    listed = pl.read_parquet(book / "truth/planted.parquet")
    assert set(listed["kind"]) == switches(["all"])
    extra = pl.read_parquet(book / "truth/loans.parquet").drop_nulls("planted")
    fraud = listed.filter(pl.col("kind").is_in(FRAUD))
    assert fraud.select("loan_id", "kind").unique().sort("loan_id").rows() == (
        extra.select("loan_id", pl.col("planted").alias("kind")).sort("loan_id").rows()
    )
    months = pl.read_parquet(book / "truth/loan_months/*.parquet")
    assert not set(months["loan_id"]) & set(extra["loan_id"])
    payments = table(book, "payments")
    theirs = payments.filter(pl.col("loan_no").is_in(extra["loan_id"].implode()))
    regular = theirs.filter(~pl.col("payment_no").is_in(fraud["payment_id"].drop_nulls().implode()))
    due = table(book, "schedules").select("loan_no", pl.col("due_on").alias("paid_on"), "amount")
    assert regular.join(due, on=["loan_no", "paid_on", "amount"], how="anti").is_empty() and regular.height > 100
    assert set(fraud["payment_id"].drop_nulls()) <= set(theirs["payment_no"])
    late = payments.filter(pl.col("booked_on") != pl.col("paid_on"))
    delayed = listed.filter(pl.col("kind").is_in(["late_payments", "late_reversals"]))
    assert set(late["payment_no"]) <= set(delayed["payment_id"]) and late.height > 100
    reversals = set(listed.filter(pl.col("kind") == "late_reversals")["payment_id"])
    taken_back = late.filter(pl.col("payment_no").is_in(list(reversals)))
    assert (taken_back["amount"].cast(pl.Float64) < 0).all() and taken_back.height > 10


def test_planted_fraud_does_what_its_rule_is_about(book):
    listed = pl.read_parquet(book / "truth/planted.parquet")
    payments = table(book, "payments").with_columns(pl.col("paid_on").str.to_date(), cents("amount"))
    loans = table(book, "loans").with_columns(cents("amount"), pl.col("opened_on").str.to_date())
    rows = listed.join(payments, left_on="payment_id", right_on="payment_no").join(
        loans.select("loan_no", pl.col("amount").alias("lent"), "opened_on"), left_on="loan_id", right_on="loan_no"
    )
    cases = lambda kind: rows.filter(pl.col("kind") == kind).partition_by("loan_id")
    span = lambda r: (r["paid_on"].max() - r["paid_on"].min()).days
    for r in cases("A01_structuring"):
        assert (
            r.height >= 3
            and span(r) <= 7
            and set(r["method"]) == {"cash"}
            and r["amount"].is_between(800_000, 999_999).all()
        )
    for r in cases("A02_velocity"):
        assert r.height >= 5 and span(r) == 0 and r["amount"].sum() >= 500_000
    for r in cases("A03_round_amounts"):
        assert (r["amount"] % 10_000 == 0).all() and r.height >= 3
    for r in cases("A04_rapid_movement"):
        assert span(r) <= 2 and -r["amount"].min() >= 0.9 * r["amount"].max()
    for r in cases("A05_dormant_then_active"):
        assert r.sort("paid_on")["paid_on"].diff().max().days >= 180
        assert payments.filter(pl.col("loan_no") == r["loan_id"][0]).height == r.height
    for r in cases("A06_fan_in"):
        assert r["payer_no"].n_unique() >= 8 and span(r) < 7 and r["amount"].min() > 0
    for r in cases("A07_fan_out"):
        out = r.filter(pl.col("amount") < 0)
        assert out["payer_no"].n_unique() >= 8 and span(out) < 7
    for r in cases("A09_early_payoff"):
        assert r["amount"].sum() >= 0.8 * r["lent"][0] and (r["paid_on"] - r["opened_on"]).max().days <= 60
        assert r["payer_no"].null_count() == 0
    for r in cases("A10_many_payers"):
        assert r["payer_no"].n_unique() >= 3 and span(r) <= 90
    one_payer = (
        rows.filter(pl.col("kind") == "A10_one_payer").group_by("payer_no").agg(pl.col("customer_no").n_unique())
    )
    assert (one_payer["customer_no"] >= 4).all()
    for r in cases("A11_overpaid_and_refunded"):
        assert r["amount"].max() >= 1.2 * r["lent"][0] and span(r) <= 30 and r["amount"].min() < 0
    first = listed.filter(pl.col("kind") == "A13_first_payment_default")["loan_id"]
    assert payments.filter(pl.col("loan_no").is_in(first.implode())).is_empty() and len(first) >= 2
    out = listed.filter(pl.col("kind") == "A12_bust_out").join(loans, left_on="loan_id", right_on="loan_no")
    assert set(out.group_by("customer_no").len()["len"]) == {4}
    shared = listed.filter(pl.col("kind") == "A14_shared_identifiers")
    accounts = table(book, "borrowers").group_by("account_no").agg(pl.col("customer_no"))
    sharing = accounts.filter(pl.col("customer_no").list.len() > 1)
    assert set(sharing["customer_no"].explode()) == set(shared["customer_no"])
    assert (sharing["customer_no"].list.len() >= 3).all()


def test_unknown_switches_and_short_books_are_refused(tmp_path):
    with pytest.raises(PlanError, match="unknown: A99; choose from fraud, risk_shifts"):
        switches(["A99"])
    with pytest.raises(PlanError, match="needs 18 months"):
        simulate(Plan(100, 12, seed=1, planted=switches(["fraud"])), tmp_path / "short")
    assert not (tmp_path / "short").exists()
