"""Tests that tables which a source cannot fill are listed with the reason."""

from dagster_project.portfolio.coverage import coverage


def test_missing_tables_are_listed_with_the_reason():
    rows = {"port_vintages": 0, "port_roll_rates": 9, "port_client_money": 0}
    found = coverage(
        "cards",
        rows,
        is_dated=False,
        months=6,
        moves=5,
        matrix_months=12,
        forecasts=0,
        why_policy_loss="3 workouts, 30 are needed",
        why_no_expected_loss="its PD looks one month ahead",
    )
    said = {subject: (status, reason) for _, subject, status, reason in found.iter_rows()}
    assert said["vintages"] == said["static_pools"]
    assert said["vintages"][0] == "none" and "when a loan was opened" in said["vintages"][1]
    assert said["roll_rates"] == ("available", None)
    assert said["transitions"] == ("short", "moves of 5 months were delivered; the matrix needs 12")
    assert said["loss_given_default"][0] == "short" and said["expected_loss"][0] == "none"


def test_book_without_a_month_lacks_months_and_not_dates():
    rows = dict.fromkeys(("port_vintages", "port_roll_rates", "port_client_money"), 0)
    why = {"why_policy_loss": None, "why_no_expected_loss": None}
    found = coverage("new", rows, is_dated=False, months=0, moves=0, matrix_months=12, forecasts=0, **why)
    said = {subject: reason for _, subject, _, reason in found.iter_rows()}
    assert said["vintages"] == said["static_pools"] == "no loan has a whole month yet"
    assert said["roll_rates"] == said["transitions"] == "0 month-ends were delivered; two are needed"
