"""Code that derives payments for sources that report only months.

Each statement with an amount paid yields one payment.
"""

import polars as pl


def payments_of(statements: pl.DataFrame, currency: str) -> pl.DataFrame:
    """Return one payment for each statement whose amount paid is not 0.

    The payment is dated at the month-end, because the source does not report the day.

    Args:
        statements: the columns loan_id, month_on, paid, line_no, event_on and known_at.
        currency: the ISO 4217 code of the payments' currency.
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
