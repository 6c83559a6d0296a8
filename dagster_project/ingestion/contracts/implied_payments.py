"""Payments for sources that report only months: each statement with an amount paid implies one payment."""

import polars as pl


def payments_of(statements: pl.DataFrame, currency: str) -> pl.DataFrame:
    """Return one payment per statement with an amount paid.

    The payment is dated at the month-end, because the source gives no day. `statements`: loan_id, month_on, paid and
    the lineage columns.
    """
    return statements.filter(pl.col("paid") != 0).select(
        pl.format("{}-{}", "loan_id", pl.col("month_on").dt.strftime("%Y%m")).alias("payment_id"),
        "loan_id",
        pl.col("month_on").alias("paid_on"),
        pl.col("paid").alias("amount"),
        pl.lit(currency).alias("currency"),
        "line_no",
        "event_on",
        "known_at",
    )
