"""The assets for raw tables: they take in the landed files, and select the lake files that the night reads."""

from collections.abc import Iterator, Sequence

import dagster as dg
import polars as pl

from dagster_project.defs.asset_keys import landing_asset, raw_asset
from dagster_project.defs.assets.landing import fill_partitions, take_in
from dagster_project.defs.resources import NIGHT
from dagster_project.ingestion.contracts.canonical import LINEAGE
from dagster_project.ingestion.contracts.contract import Table
from dagster_project.ingestion.contracts.source import Source
from dagster_project.ingestion.lake.files import select
from dagster_project.ingestion.lake.receipts import Receipt
from dagster_project.night.pipeline import Pipeline

_SHOWN = 10


def build_raw_assets(source: Source, owner: str) -> dg.AssetsDefinition:
    """Return the assets for the raw tables of a source, one per table.

    A single step fills all tables, because a delivery is committed to all of them at once.
    """
    specs = [
        dg.AssetSpec(
            dg.AssetKey(raw_asset(source.name, table.name)),
            deps=[dg.AssetKey(landing_asset(source.name))],
            group_name="raw",
            description=table.description,
            kinds={"parquet"},
            owners=[owner],
            metadata={"dagster/column_schema": _schema(table)},
        )
        for table in source.contract.tables
    ]

    @dg.multi_asset(name=f"ingest_{source.name}", specs=specs, required_resource_keys={NIGHT})
    def _ingest(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        pipeline: Pipeline = context.resources.night
        ingest_context = pipeline.ingest_context
        if ingest_context.keys.is_development:
            context.log.warning(
                "Pseudonyms are made with the PUBLIC DEVELOPMENT KEY and protect nobody. "
                "Set CREDITLOOM_MASTER_KEY_FILE before real data arrives."
            )
        if pipeline.takes_in(source.name):
            fill_partitions(context, source, take_in(context, pipeline, source))
        receipts = pipeline.receipts(source.name)
        if not pipeline.has_delivered(source.name):
            context.log.warning(
                f"{source.name} has not delivered: put its files into {ingest_context.landing / source.name}, or run "
                f"`creditloom land {source.name} FOLDER`. The night continues with the other sources."
            )
        rows = select(ingest_context.lake, pipeline.settings.selection, source.name, receipts)
        for table in source.contract.tables:
            yield dg.MaterializeResult(
                asset_key=dg.AssetKey(raw_asset(source.name, table.name)),
                metadata={
                    "dagster/row_count": rows[table.name],
                    "deliveries": len(receipts),
                    "newest deliveries": dg.MetadataValue.md(_newest(receipts)),
                },
            )

    return _ingest


def _schema(table: Table) -> dg.TableSchema:
    """Return the columns of a raw table as the Dagster UI shows them.

    The columns of the contract come first, and the lineage columns last. Each column whose classification is not `none`
    is tagged with it.
    """
    own = [
        dg.TableColumn(
            c.name,
            _type(c.dtype),
            c.description,
            dg.TableColumnConstraints(nullable=not c.required),
            {"class": c.classification} if c.classification != "none" else {},
        )
        for c in table.columns
    ]
    lineage = [dg.TableColumn(name, _type(dtype), text) for name, (dtype, text) in LINEAGE.items()]
    return dg.TableSchema([*own, *lineage], dg.TableConstraints([f"unique: {', '.join(table.key)}"]))


def _type(dtype: pl.DataType) -> str:
    if isinstance(dtype, pl.Decimal):
        return f"decimal({dtype.precision},{dtype.scale})"
    return type(dtype).__name__.lower()


def _newest(receipts: Sequence[Receipt]) -> str:
    """Return a Markdown table of the newest ten deliveries, newest first, with file names, states and row counts.

    The table contains no values from the files.
    """
    head = "| file | state | landed | accepted | quarantined | duplicate | |\n|---|---|--:|--:|--:|--:|---|\n"
    return head + "\n".join(
        f"| {r.file_name} | {r.state} | {r.landed_rows:,} | {r.accepted_rows:,} | {r.quarantined_rows:,} "
        f"| {r.duplicate_rows:,} | {r.reason or ''} |"
        for r in reversed(receipts[-_SHOWN:])
    )
