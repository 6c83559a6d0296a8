"""Brings the two kinds of tape into the canonical shape.

The origination tape gives the loans, once; a monthly tape gives a statement and, where something was paid, a payment
a loan. Borrowers are not named: each loan counts as a borrower of its own. The day of a payment is not given.
"""

import polars as pl

from dagster_project.ingestion.contracts.contract import Contract
from dagster_project.ingestion.contracts.implied_payments import payments_of


def adapt(layout: str, delivered: pl.DataFrame, contract: Contract) -> dict[str, pl.DataFrame]:
    """The canonical tables of one tape. `delivered`: typed columns of its layout and `line_no`."""
    dated = delivered.with_columns(
        event_on=pl.col("reportingPeriodEndingDate"),
        known_at=pl.col("reportingPeriodEndingDate").dt.offset_by(f"{contract.known_at_lag_days}d"),
        loan_id=pl.col("assetNumber"),
    )
    return _origination(dated, contract) if layout == "origination_tape" else _monthly(dated, contract)


def _origination(dated: pl.DataFrame, contract: Contract) -> dict[str, pl.DataFrame]:
    lineage = ("line_no", "event_on", "known_at")
    return {
        "borrowers": dated.select(pl.col("loan_id").alias("borrower_id"), *lineage),
        "loans": dated.select(
            "loan_id",
            pl.col("loan_id").alias("borrower_id"),
            pl.lit("auto_loan").alias("product"),
            pl.lit(contract.currency).alias("currency"),
            pl.concat_str(pl.lit("01/"), "originationDate").str.to_date("%d/%m/%Y").alias("opened_on"),
            pl.col("originalLoanAmount").alias("original_amount"),
            pl.col("originalLoanTerm").alias("term_months"),
            pl.col("originalInterestRatePercentage").alias("annual_rate"),
            pl.col("reportingPeriodScheduledPaymentAmount").alias("instalment"),
            pl.col("reportingPeriodBeginningLoanBalanceAmount").alias("opening_balance"),
            *lineage,
        ),
    }


def _monthly(dated: pl.DataFrame, contract: Contract) -> dict[str, pl.DataFrame]:
    statements = dated.select(
        "loan_id",
        pl.col("reportingPeriodEndingDate").alias("month_on"),
        pl.col("reportingPeriodActualEndBalanceAmount").alias("balance"),
        pl.col("totalActualAmountPaid").alias("paid"),
        pl.col("actualPrincipalCollectedAmount").alias("principal"),
        "line_no",
        "event_on",
        "known_at",
    )
    return {"statements": statements, "payments": payments_of(statements, contract.currency)}
