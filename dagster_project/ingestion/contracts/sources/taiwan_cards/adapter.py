"""The adapter that turns the wide file of card accounts into canonical tables.

The file has one line per account, which becomes six statements and up to six payments. The file numbers its months
backwards, so that month 1 is September 2005. The column with the newest repayment status is `PAY_0`. The file contains
no day of payment, so payments are dated at the month-end.
"""

import datetime as dt

import polars as pl

from dagster_project.ingestion.contracts.contract import Contract, known_at
from dagster_project.ingestion.contracts.implied_payments import payments_of

# (suffix of bill and payment columns, suffix of the status column, month-end)
MONTHS = (
    ("1", "0", dt.date(2005, 9, 30)),
    ("2", "2", dt.date(2005, 8, 31)),
    ("3", "3", dt.date(2005, 7, 31)),
    ("4", "4", dt.date(2005, 6, 30)),
    ("5", "5", dt.date(2005, 5, 31)),
    ("6", "6", dt.date(2005, 4, 30)),
)
OBSERVED_ON = MONTHS[0][2]
FIRST_MONTH = MONTHS[-1][2]
OUTCOME_ON = dt.date(2005, 10, 31)


def adapt(_layout: str, delivered: pl.DataFrame, contract: Contract) -> dict[str, pl.DataFrame]:
    """Build the canonical tables that are made from the wide file.

    `delivered` has the typed columns of the file, and `line_no`. Returns the tables by name.
    """
    account = pl.col("ID").cast(pl.String)
    static = _dated(FIRST_MONTH, contract)
    statements = pl.concat(
        delivered.select(
            account.alias("loan_id"),
            pl.lit(month).alias("month_on"),
            pl.col(f"BILL_AMT{n}").alias("balance"),
            pl.col("LIMIT_BAL").alias("limit_amount"),
            pl.lit(None, dtype=pl.Decimal(18, 2)).alias("due"),
            pl.col(f"PAY_AMT{n}").alias("paid"),
            pl.col(f"PAY_{status}").alias("status_code"),
            "line_no",
            *_dated(month, contract),
        )
        for n, status, month in MONTHS
    )
    return {
        "borrowers": delivered.select(account.alias("borrower_id"), "line_no", *static),
        "borrower_attributes": delivered.select(
            account.alias("borrower_id"),
            pl.col("SEX").alias("sex"),
            pl.col("AGE").alias("age"),
            pl.col("MARRIAGE").alias("marriage"),
            pl.col("EDUCATION").alias("education"),
            "line_no",
            *static,
        ),
        "loans": delivered.select(
            account.alias("loan_id"),
            account.alias("borrower_id"),
            pl.lit("credit_card").alias("product"),
            pl.lit(contract.currency).alias("currency"),
            pl.lit(None, dtype=pl.Date).alias("opened_on"),
            pl.col("LIMIT_BAL").alias("limit_amount"),
            "line_no",
            *static,
        ),
        "statements": statements,
        "payments": payments_of(statements, contract.currency),
        "outcomes": delivered.select(
            account.alias("loan_id"),
            pl.lit(OBSERVED_ON).alias("observed_on"),
            pl.lit(1, dtype=pl.Int32).alias("horizon_months"),
            pl.col("default.payment.next.month").alias("defaulted"),
            "line_no",
            *_dated(OUTCOME_ON, contract),
        ),
    }


def _dated(event_on: dt.date, contract: Contract) -> tuple[pl.Expr, pl.Expr]:
    return pl.lit(event_on).alias("event_on"), pl.lit(known_at(event_on, contract)).alias("known_at")
