"""A few loans in one reported month, as known at the time of the report and now, and helpers to build late rows."""

import datetime as dt
from decimal import Decimal

import polars as pl

from dagster_project.reporting.month_comparison import Reported, changes

MONTH_ON = dt.date(2024, 3, 31)
REPORTED = Reported(dt.datetime(2024, 4, 1, 2), dt.date(2024, 4, 1), as_newest=True)
SCHEMA = {
    "loan_id": pl.String,
    "state": pl.String,
    "dpd_end": pl.Int32,
    "is_default": pl.Boolean,
    "balance": pl.Decimal(18, 2),
    "due": pl.Decimal(18, 2),
    "paid": pl.Decimal(18, 2),
}


def months(*rows: tuple) -> pl.DataFrame:
    """Build a frame of loan months from tuples of (loan, state, days past due, balance, due, paid).

    The column `is_default` is true from 90 days past due.
    """
    named = [(loan, state, dpd, dpd >= 90, balance, due, paid) for loan, state, dpd, balance, due, paid in rows]
    frame = pl.DataFrame(named, schema=list(SCHEMA), orient="row")
    return frame.cast({c: t for c, t in SCHEMA.items() if t != pl.String})


def payment(loan: str, number: str, amount: str, known_then: bool, line: int = 2) -> dict:
    return {
        "payment_id": number,
        "loan_id": loan,
        "amount": Decimal(amount),
        "payer_id": "a pseudonym",
        "file": "payments-2024-04-09.csv",
        "line_no": line,
        "event_on": dt.date(2024, 3, 20),
        "known_at": dt.date(2024, 3, 20) if known_then else dt.date(2024, 4, 9),
        "ingested_at": dt.datetime(2024, 3, 21) if known_then else dt.datetime(2024, 4, 10),
        "known_then": known_then,
    }


THEN = months(
    ("A", "current", 0, 900, 100, 100),
    ("B", "31-60", 45, 500, 100, 0),
    ("C", "90+", 95, 600, 50, 0),
    ("D", "closed", 0, 0, 0, 10),
)
NOW = months(
    ("A", "current", 0, 900, 100, 100),
    ("B", "1-30", 14, 400, 100, 100),  # what was paid in time became known late
    ("C", "written_off", 95, 0, 50, 0),
    ("E", "current", 0, 1_000, 0, 0),  # a loan that became known late
)


def late(*rows: dict) -> pl.DataFrame:
    return changes("payments", pl.DataFrame(list(rows)), ["payment_id"], ["amount"])
