"""Tests of the comparison of a reported month with what is known now, on a few loans that can be added up by hand."""

import datetime as dt
from decimal import Decimal

import polars as pl
import pytest

from dagster_project.reporting.month_comparison import ROW, compare_month
from support.months import MONTH_ON, NOW, REPORTED, THEN, late, payment


def test_figures_before_and_now_and_who_moved_them():
    found = compare_month("lender", MONTH_ON, REPORTED, THEN, NOW, pl.DataFrame(schema=ROW))
    said = {f.name: (f.reported, f.restated, f.difference, f.loans) for f in found.figures}
    assert said["loans"] == (4, 4, 0, 2)  # one came, one went: nothing in sum, and two loans moved it
    assert said["balance"] == (Decimal(2_000), Decimal(2_300), Decimal(300), 3)
    assert said["paid"] == (Decimal(110), Decimal(200), Decimal(90), 2)
    assert said["defaults"] == (1, 1, 0, 0)
    assert said["loans.open"] == (3, 3, 0, 2)
    assert said["share.30+"] == (pytest.approx(2 / 3), 0.0, pytest.approx(-2 / 3), 3)
    assert said["balance_share.30+"] == (0.55, 0.0, -0.55, 3)
    assert said["loans.written_off"] == (0, 1, 1, 1)


def test_loans_whose_month_changed_say_how():
    loans = compare_month("lender", MONTH_ON, REPORTED, THEN, NOW, pl.DataFrame(schema=ROW)).loans
    assert loans["loan_id"].to_list() == ["B", "C", "D", "E"]
    row = loans.row(0, named=True)
    assert (row["state"], row["state_now"], row["paid"], row["paid_now"]) == ("31-60", "1-30", 0, 100)
    assert "paid" in row["moved"] and "share.30+" in row["moved"] and "due" not in row["moved"]
    assert loans.row(3, named=True)["state"] is None


def test_rows_are_listed_only_for_the_loans_that_changed():
    rows = late(payment("B", "p1", "100.00", known_then=False), payment("A", "p2", "7.00", known_then=False))
    found = compare_month("lender", MONTH_ON, REPORTED, THEN, NOW, rows)
    assert found.rows["loan_id"].to_list() == ["B"]
    assert found.rows["moved"].to_list() == [found.loans["moved"][0].to_list()]
    assert found.unexplained == ("C", "D", "E")


def test_month_that_did_not_change_has_no_difference():
    found = compare_month("lender", MONTH_ON, REPORTED, THEN, THEN, pl.DataFrame(schema=ROW))
    assert found.loans.is_empty() and found.rows.is_empty() and found.unexplained == ()
    assert {f.difference for f in found.figures} == {0}
    assert {f.loans for f in found.figures} == {0}


def test_month_that_had_no_rows_has_no_share():
    found = compare_month("lender", MONTH_ON, REPORTED, THEN.clear(), NOW, pl.DataFrame(schema=ROW))
    share = next(f for f in found.figures if f.name == "share.30+")
    assert (share.reported, share.restated, share.difference) == (None, 0.0, None)


def test_correction_says_what_it_was_and_nothing_personal():
    """A corrected payment is listed with its old and its new amount, and without personal data.

    If several versions of the payment were known at the time of the report, the old amount is that of the newest of
    them. A payment that was not known at that time has no old amount.
    """
    rows = late(
        payment("B", "p1", "90.00", known_then=True, line=5),
        payment("B", "p1", "95.00", known_then=True, line=6),
        payment("B", "p1", "100.00", known_then=False, line=7),
        payment("B", "p2", "4.00", known_then=False, line=8),
        payment("B", "p3", "9.00", known_then=True, line=9),
    )
    assert rows.select("line", "is_correction").rows() == [(7, True), (8, False)]
    assert rows["changed"].to_list() == [
        [{"column": "amount", "before": "95.00", "after": "100.00"}],
        [{"column": "amount", "before": None, "after": "4.00"}],
    ]
    assert "a pseudonym" not in str(rows.to_dicts())


def test_correction_that_moves_a_payment_is_listed_under_both_loans():
    rows = late(payment("B", "1", "100", known_then=True), payment("A", "1", "100", known_then=False))
    (of_a, of_b) = rows.sort("loan_id").iter_rows(named=True)
    assert (of_a["loan_id"], of_b["loan_id"]) == ("A", "B")
    assert of_a["changed"] == of_b["changed"] == [{"column": "loan_id", "before": "B", "after": "A"}]


def test_older_version_that_comes_late_moves_nothing():
    newest = payment("A", "1", "100", known_then=True)
    older = payment("A", "1", "90", known_then=False) | {"known_at": dt.date(2024, 3, 1)}
    assert late(newest, older).is_empty()


def test_of_versions_that_came_since_the_newest_alone_moves_a_month():
    first = payment("A", "1", "90", known_then=False, line=3)
    newest = payment("A", "1", "80", known_then=False, line=4) | {"known_at": dt.date(2024, 4, 12)}
    assert late(payment("A", "1", "100", known_then=True), newest, first)["line"].to_list() == [4]
