"""Tests of the figures by grade, of moves between grades, and of concentration in grades."""

import polars as pl
import pytest

from dagster_project.portfolio.grades import by_grade, concentration, moves
from dagster_project.portfolio.migration import herfindahl
from dagster_project.portfolio.price import risk_weight
from support.portfolio import POLICY, array


def test_grades_their_moves_and_their_concentration():
    order = ["R1", "R2", "D"]
    before = pl.DataFrame({"loan_id": ["1", "2", "3", "4"], "grade": ["R1", "R1", "R2", "R2"]})
    after = pl.DataFrame({"loan_id": ["1", "2", "3", "5"], "grade": ["R1", "D", "R1", "R2"]})
    moved = moves(before, after, order)
    assert moved.sort("from_grade", "to_grade").select("from_grade", "to_grade", "loans", "share").rows() == [
        ("R1", "D", 1, 0.5),
        ("R1", "R1", 1, 0.5),
        ("R2", "R1", 1, 1.0),
    ]
    loans = pl.DataFrame(
        {
            "grade": ["R1", "R1", "R2", "D"],
            "pd": [0.01, 0.01, 0.05, 1.0],
            "balance": pl.Series(["100", "300", "50", "10"]).cast(pl.Decimal(18, 2)),
            "annual_rate": [0.04, 0.08, None, 0.2],
        }
    )
    grades = by_grade(loans, 0.45, POLICY.price, priced=True)
    assert grades["grade"].to_list() == ["D", "R1", "R2"]
    assert grades["agreed_rate"].to_list() == [0.2, 0.07, None]
    assert grades["price"].is_null().to_list() == [True, False, False]
    weight = risk_weight(array(0.01), 0.45, "other_retail")[0]
    price = POLICY.price
    capital = 0.08 * weight
    assert grades["price"][1] == pytest.approx(
        price.funding_cost * (1 - capital) + price.operating_cost + 0.0045 + capital * 0.15 / 0.75, abs=1e-8
    )
    assert by_grade(loans, 0.45, price, priced=False)["price"].null_count() == 3
    (row,) = concentration(grades, moved, order, POLICY.limits.grade_hhi).rows(named=True)
    assert row["hhi"] == pytest.approx(herfindahl(array(0.5, 0.25, 0.25))) == pytest.approx(0.375)
    assert (row["status"], row["largest_share"], row["moved_loans"]) == ("red", 0.5, 3)
