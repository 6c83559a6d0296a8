"""What is held back, of all sources: the table, its counts, and what somebody should look at."""

from collections.abc import Iterator

import dagster as dg
import polars as pl

from dagster_project.defs.asset_keys import QUARANTINE_ASSET, raw_asset
from dagster_project.defs.resources import NIGHT
from dagster_project.ingestion.lake.files import write_parquet
from dagster_project.ingestion.quarantine import HELD, OPEN, counts, held
from dagster_project.night.pipeline import Pipeline
from dagster_project.reporting.markdown import table

# Rules that tell of more than a bad row, and what to do about each.
ALERTS = {
    "schema_drift": "a source delivers other columns than agreed: ask it, or change its contract; then readmit",
    "conflict": "a row came again with other content: the accepted one may be wrong; ask the source which one holds",
}


def build_quarantine_asset(pipeline: Pipeline, owner: str) -> dg.AssetsDefinition:
    """The held rows, without their text: which they are, why, since when, and whether they came back."""
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
                description="One row a line or file that was ever held back: rule, message, since when, and its state. "
                "`creditloom quarantine` lists it; `creditloom readmit` takes back in what is good by now.",
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
        still = rows.filter(pl.col("state") == OPEN)
        yield dg.MaterializeResult(
            asset_key=asset,
            metadata={
                "dagster/row_count": rows.height,
                "dagster/column_schema": _SCHEMA,
                "open lines": int(still["lines"].sum()),
                "by source and rule": dg.MetadataValue.md(_counted(rows)),
                "path": dg.MetadataValue.path(path),
            },
        )
        for rule, advice in ALERTS.items():
            lines = int(still.filter(pl.col("rule") == rule)["lines"].sum())
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
