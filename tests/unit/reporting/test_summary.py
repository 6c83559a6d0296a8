"""Tests of how the terminal shows amounts and restated months."""

import datetime as dt

import polars as pl
import pytest
from rich.console import Console

from dagster_project.reporting.month_comparison import ROW, Reported, compare_month
from dagster_project.reporting.summary import _amount, comparison_tables
from support.months import MONTH_ON, NOW, REPORTED, THEN, late, payment


@pytest.mark.parametrize(
    ("minor", "said"), [(0, "0.00"), (-5, "-0.05"), (-150, "-1.50"), (94_954_177_700, "949,541,777.00")]
)
def test_amount_is_shown_to_the_cent(minor, said):
    assert _amount(minor) == said


def test_terminal_shows_figures_rows_and_unexplained_loans():
    rows = late(
        payment("B", "p1", "90.00", known_then=True),
        payment("B", "p1", "100.00", known_then=False, line=7),
        *(payment("C", f"q{n}", "1.00", known_then=False, line=n) for n in range(2, 42)),
    )
    console = Console(width=100, record=True)
    console.print(comparison_tables(compare_month("lender", MONTH_ON, REPORTED, THEN, NOW, rows)))
    text = " ".join(console.export_text().split())
    assert "from rows taken in by 2024-04-01 02:00 UTC, when the month was first reported" in text
    assert "paid 110.00 200.00 90.00 2" in text and "share.30+ 66.67% 0.00% -66.67% 3" in text
    assert "B payments-2024-04-09.csv, line 7 amount 90.00 -> 100.00" in text
    assert "2024-03-20, known 2024-04-09, taken in 2024-04-10" in text
    assert "line 2 amount 1.00" in text and "and 39 more rows" in text
    assert "unexplained 2 loans, first D" in text


def test_terminal_says_that_nothing_moved_a_month():
    console = Console(width=100, record=True)
    history = Reported(dt.datetime(2026, 1, 2), dt.date(2024, 4, 1), as_newest=False)
    console.print(comparison_tables(compare_month("lender", MONTH_ON, history, THEN, THEN, pl.DataFrame(schema=ROW))))
    text = " ".join(console.export_text().split())
    assert "changed since nothing" in text and "known on 2024-04-01" in text
