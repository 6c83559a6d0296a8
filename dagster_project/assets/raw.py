"""Raw tables: takes in what waits in the landing folders and lays out what the night may read."""

from collections.abc import Iterator

import dagster as dg

from dagster_project.assets.landing import mark, take_in
from dagster_project.ingestion.deliver import Source
from dagster_project.ingestion.lake import select
from dagster_project.night_resource import NIGHT
from dagster_project.resources import Pipeline, landing_asset, raw_asset


def build_raw_assets(source: Source) -> dg.AssetsDefinition:
    """One asset a canonical table of `source`, made together: a delivery is committed whole."""
    specs = [
        dg.AssetSpec(
            dg.AssetKey(raw_asset(source.name, table.name)),
            deps=[dg.AssetKey(landing_asset(source.name))],
            group_name="raw",
            description=table.description,
            kinds={"parquet"},
        )
        for table in source.contract.tables
    ]

    @dg.multi_asset(name=f"ingest_{source.name}", specs=specs, required_resource_keys={NIGHT})
    def _ingest(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        pipeline: Pipeline = context.resources.night
        border = pipeline.border
        if border.keys.is_development:
            context.log.warning(
                "Pseudonyms are made with the PUBLIC DEVELOPMENT KEY and protect nobody. "
                "Set CREDITLOOM_MASTER_KEY_FILE before real data arrives."
            )
        if pipeline.intake and pipeline.known_as_of is None:  # a rebuilt night takes nothing in
            mark(context, source, take_in(context, pipeline, source))
        receipts = pipeline.receipts(source.name)
        if not pipeline.has_delivered(source.name):
            context.log.warning(
                f"{source.name} has not delivered: put its files into {border.landing / source.name}, or run "
                f"`creditloom land {source.name} FOLDER`. The other sources go on."
            )
        rows = select(border.lake, pipeline.settings.selection, source.name, receipts)
        for table in source.contract.tables:
            yield dg.MaterializeResult(
                asset_key=dg.AssetKey(raw_asset(source.name, table.name)),
                metadata={"dagster/row_count": rows[table.name], "deliveries": len(receipts)},
            )

    return _ingest
