"""Figures in words, and persons who come twice."""

import datetime as dt

import polars as pl
import pytest

from dagster_project.ingestion.contracts.canonical import PERSONS
from dagster_project.ingestion.contracts.contract import Column, Contract, Table
from dagster_project.ingestion.contracts.contract_adapter import adapt
from dagster_project.reporting.markdown import bars, table
from dagster_project.reporting.summary import _amount

DAY = dt.date(2024, 1, 1)


@pytest.mark.parametrize(
    ("minor", "said"), [(0, "0.00"), (-5, "-0.05"), (-150, "-1.50"), (94_954_177_700, "949,541,777.00")]
)
def test_amount_is_said_to_the_cent(minor, said):
    assert _amount(minor) == said


def test_bars_keep_the_order_of_the_scale_and_leave_out_what_is_not_there():
    text = bars(pl.Series("grade", ["R10", "R2", "R10", "R10"]), ["R1", "R2", "R10"])
    rows = [line.split("|") for line in text.splitlines()[2:]]
    assert [(r[1].strip(), r[2].strip(), r[3].strip()) for r in rows] == [("R2", "1", "25.0%"), ("R10", "3", "75.0%")]
    assert rows[0][4].count("\u2588") * 3 == rows[1][4].count("\u2588")


def test_numbers_stand_at_the_right():
    assert table(["a", "b"], [["x", 1234.5]]).splitlines()[1:] == ["|:--|--:|", "| x | 1,234.5 |"]


def test_person_with_two_loans_is_one_borrower_known_since_the_first():
    def column(name: str, origin: str | None = None) -> Column:
        return Column(name, pl.String(), "", required=True, key=True, classification="none", origin=origin)

    layout = Table("book", "", (column("loan"), column("who")), ())
    borrowers = Table("borrowers", "", (column("borrower_id", "who"),), (), made_from="book", event_on="day")
    loans = Table("loans", "", (column("loan_id", "loan"),), (), made_from="book", event_on="day")
    contract = Contract("s", "1", "", "EUR", 2, (layout,), (borrowers, loans))
    rows = {"line_no": [2, 3, 4], "loan": ["1", "2", "3"], "who": ["a", "b", "a"]}
    delivered = pl.DataFrame(rows).with_columns(day=pl.Series([DAY, DAY, DAY - dt.timedelta(days=9)]))
    made = adapt("book", delivered, contract)
    assert made["loans"].height == 3
    found = made["borrowers"].sort("borrower_id").select("borrower_id", "line_no", "event_on").rows()
    assert found == [("a", 4, DAY - dt.timedelta(days=9)), ("b", 3, DAY)]
    assert "borrowers" in PERSONS
