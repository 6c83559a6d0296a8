"""The asset for the quarantined rows of all sources, with checks for the problems that a person must solve."""

from collections.abc import Iterator

import dagster as dg
import polars as pl

from dagster_project.defs.asset_keys import QUARANTINE_ASSET, raw_asset
from dagster_project.defs.resources import NIGHT
from dagster_project.ingestion.lake.files import write_parquet
from dagster_project.ingestion.quarantine import HELD, OPEN, counts, held
from dagster_project.night.pipeline import Pipeline
from dagster_project.reporting.markdown import table

# Rules that indicate more than a single bad row, with what to do about each.
ALERTS = {
    "schema_drift": "the columns differ from the contract: ask the source, or change the contract; then readmit",
    "conflict": "a row was delivered again with different content: ask the source which one is right",
}


def build_quarantine_asset(pipeline: Pipeline, owner: str) -> dg.AssetsDefinition:
    """Return the asset for the table of all rows that were ever quarantined, together with its checks.

    The table contains the place, rule, message, date and state of each row, but not the row's text.
    """
    asset = dg.AssetKey(QUARANTINE_ASSET)
    raw = [raw_asset(name, table.name) for name, source in pipeline.sources.items() for table in source.contract.tables]

    @dg.multi_asset(
        name="quarantine__held_rows",
        specs=[
            dg.AssetSpec(
                asset,
                deps=[dg.AssetKey(key) for key in raw],
                group_name="quarantine",
                kinds={"parquet"},
                owners=[owner],
                description="One row per line or file that was ever quarantined: rule, message, date and state. "
                "`creditloom quarantine` lists them; `creditloom readmit` readmits the rows that are valid now.",
            )
        ],
        check_specs=[
            dg.AssetCheckSpec(f"no_{rule}", asset=asset, description=advice) for rule, advice in ALERTS.items()
        ],
        required_resource_keys={NIGHT},
    )
    def _held_rows(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        tonight: Pipeline = context.resources.night
        rows = held(tonight.ingest_context, until=tonight.known_as_of).filter(
            pl.col("source").is_in(list(tonight.sources))
        )
        path = tonight.settings.build / "held_rows.parquet"
        write_parquet(rows.drop("minor"), path)
        open_rows = rows.filter(pl.col("state") == OPEN)
        yield dg.MaterializeResult(
            asset_key=asset,
            metadata={
                "dagster/row_count": rows.height,
                "dagster/column_schema": _SCHEMA,
                "open lines": int(open_rows["lines"].sum()),
                "by source and rule": dg.MetadataValue.md(_counted(rows)),
                "path": dg.MetadataValue.path(path),
            },
        )
        for rule, advice in ALERTS.items():
            lines = int(open_rows.filter(pl.col("rule") == rule)["lines"].sum())
            yield dg.AssetCheckResult(
                passed=not lines,
                asset_key=asset,
                check_name=f"no_{rule}",
                severity=dg.AssetCheckSeverity.WARN,
                metadata={"open lines": lines, "what to do": advice},
            )

    return _held_rows


def _counted(rows: pl.DataFrame) -> str:
    found = counts(rows)
    return table(["source", "rule", "files", "open lines", "readmitted lines"], [list(row) for row in found.rows()])


_SCHEMA = dg.TableSchema(
    [dg.TableColumn(name, type(dtype).__name__.lower()) for name, dtype in HELD.items() if name != "minor"]
)
