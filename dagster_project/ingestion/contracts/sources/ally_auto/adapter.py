"""The adapter that turns the two kinds of car loan files (tapes) into canonical tables.

The origination tape is delivered once and yields the loans. Each monthly tape yields one statement per loan, and one
payment per loan if something was paid. The tapes contain no borrowers, so every loan gets its own borrower, who has the
number of the loan. The tapes contain no day of payment, so payments are dated at the month-end.
"""

import polars as pl

from dagster_project.ingestion.contracts.contract import Contract
from dagster_project.ingestion.contracts.implied_payments import payments_of


def adapt(layout: str, delivered: pl.DataFrame, contract: Contract) -> dict[str, pl.DataFrame]:
    """Build the canonical tables that are made from one tape.

    `layout` is the name of the tape's layout. `delivered` has the typed columns of the tape, and `line_no`. Returns the
    tables by name.
    """
    dated = delivered.with_columns(
        event_on=pl.col("reportingPeriodEndingDate"),
        known_at=pl.col("reportingPeriodEndingDate").dt.offset_by(f"{contract.known_at_lag_days}d"),
        loan_id=pl.col("assetNumber"),
    )
    read = _origination_tape if layout == "origination_tape" else _month_tape
    return read(dated, contract)


def _origination_tape(dated: pl.DataFrame, contract: Contract) -> dict[str, pl.DataFrame]:
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


def _month_tape(dated: pl.DataFrame, contract: Contract) -> dict[str, pl.DataFrame]:
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
