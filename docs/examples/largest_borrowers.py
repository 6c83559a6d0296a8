"""An asset of your own: the ten largest loans of the published snapshot, written each morning after the night."""

from pathlib import Path

import dagster as dg
import polars as pl

from dagster_project.home.settings import Settings


@dg.asset(
    deps=[dg.AssetKey(["published", "snapshot"])],
    group_name="yours",
    kinds={"polars"},
    description="The ten largest balances of the newest month.",
)
def largest_loans() -> dg.MaterializeResult[None]:
    """Read the published snapshot; it never changes while you read it."""
    settings = Settings()
    snapshot = (settings.published / "current").resolve()
    months = pl.scan_parquet(snapshot / "fct_loan_months.parquet")
    newest = months.filter(pl.col("month_on") == pl.col("month_on").max().over("source"))
    largest = newest.sort("balance", descending=True).head(10).select("source", "loan_id", "balance").collect()
    target = Path(settings.home) / "yours"
    target.mkdir(exist_ok=True)
    largest.write_csv(target / "largest_loans.csv")
    return dg.MaterializeResult(metadata={"dagster/row_count": largest.height})


@dg.schedule(target=largest_loans, cron_schedule="0 7 * * *")
def every_morning() -> dg.RunRequest:
    """At seven, after the night."""
    return dg.RunRequest()
