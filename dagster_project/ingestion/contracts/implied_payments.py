"""For sources that report months: the payments that their statements imply."""

import polars as pl


def payments_of(statements: pl.DataFrame, currency: str) -> pl.DataFrame:
    """One payment a statement in which something was paid; it carries its month-end, the day not being given.

    `statements`: loan_id, month_on, paid and the lineage.
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
