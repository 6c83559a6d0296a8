"""The asset for the published snapshot, which contains the results of a night for its readers."""

import time
from datetime import timedelta

import dagster as dg

from dagster_project.defs.asset_keys import (
    EARLY_WARNINGS_ASSET,
    SCORES_ASSET,
    SNAPSHOT_ASSET,
    mart_asset,
    portfolio_asset,
)
from dagster_project.defs.resources import NIGHT
from dagster_project.night.pipeline import Pipeline
from dagster_project.night.publish import publish_night
from dagster_project.policy import Policy
from dagster_project.portfolio.tables import TABLES
from dagster_project.reporting.markdown import markdown


def build_snapshot_asset(policy: Policy, marts: list[str]) -> dg.AssetsDefinition:
    """Return the asset for the published snapshot. `marts` contains the names of the dbt models to publish."""

    @dg.asset(
        key=dg.AssetKey(SNAPSHOT_ASSET),
        deps=[
            dg.AssetKey(k)
            for k in (SCORES_ASSET, EARLY_WARNINGS_ASSET, *map(portfolio_asset, TABLES), *map(mart_asset, marts))
        ],
        group_name="published",
        required_resource_keys={NIGHT},
        kinds={"parquet"},
        owners=[policy.owners.risk],
        freshness_policy=dg.FreshnessPolicy.time_window(
            fail_window=timedelta(hours=policy.freshness.fail_hours),
            warn_window=timedelta(hours=policy.freshness.warn_hours),
        ),
        description="Audited marts, scores and metrics under one hash. The link `current` points to it.",
    )
    def _snapshot(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        pipeline: Pipeline = context.resources.night
        record = context.instance.get_run_record_by_id(context.run.run_id)
        started = record.start_time if record and record.start_time else time.time()
        snapshot, changed = publish_night(pipeline, context.run.run_id, started)
        outcome = "published" if changed else "the content equals that of the previous snapshot"
        context.log.info(f"snapshot {snapshot.snapshot_id}: {outcome}")
        context.instance.add_run_tags(context.run.run_id, {"creditloom/snapshot": snapshot.snapshot_id})
        return dg.MaterializeResult(
            metadata={
                "snapshot_id": snapshot.snapshot_id,
                "sha256": snapshot.sha256,
                "changed": changed,
                "path": dg.MetadataValue.path(snapshot.folder),
                "metrics": dg.MetadataValue.md(markdown(snapshot.metrics(), "metric", "value")),
            }
        )

    return _snapshot
