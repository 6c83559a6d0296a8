"""The code location: `build_defs` makes it of a pipeline, `defs` is the one of the environment."""

import dagster as dg

from dagster_project.assets.early_warnings import build_early_warning_assets
from dagster_project.assets.landing import build_landing_asset
from dagster_project.assets.model import build_model_assets
from dagster_project.assets.portfolio import build_portfolio_assets
from dagster_project.assets.published import build_snapshot_asset
from dagster_project.assets.quarantine import build_quarantine_asset
from dagster_project.assets.raw import build_raw_assets
from dagster_project.assets.scores import build_scores_asset
from dagster_project.assets.warehouse import build_dbt_resource, build_warehouse_assets
from dagster_project.checks import build_checks
from dagster_project.dbt_project import prepare_manifest, published_models
from dagster_project.instance import prepare_home
from dagster_project.jobs import load_job, nightly_job, retrain_job
from dagster_project.night_resource import NIGHT, build_night_resource
from dagster_project.resources import Pipeline, load_pipeline
from dagster_project.schedules import nightly_schedule, weekly_retraining
from dagster_project.sensors import landing_sensor


def build_defs(pipeline: Pipeline | None = None) -> dg.Definitions:
    """All definitions of a pipeline; without one, of the environment's settings."""
    pipeline = pipeline or load_pipeline()
    prepare_home(pipeline.settings)
    _ = pipeline.code  # fingerprinted now: a file that changes while this process lives does not change what it runs
    owners = pipeline.policy.owners
    manifest = prepare_manifest(pipeline.settings, pipeline.policy)
    return dg.Definitions(
        assets=[
            *(build_landing_asset(source, owners.data) for source in pipeline.sources.values()),
            *(build_raw_assets(source, owners.data) for source in pipeline.sources.values()),
            build_quarantine_asset(pipeline, owners.data),
            build_warehouse_assets(pipeline, manifest),
            *(asset for name in pipeline.sources for asset in build_model_assets(name, owners.models)),
            build_scores_asset(pipeline),
            build_portfolio_assets(pipeline.policy),
            *build_early_warning_assets(pipeline),
            build_snapshot_asset(pipeline.policy, sorted(published_models(manifest))),
        ],
        asset_checks=[build_checks(guard) for guard in pipeline.guards],
        jobs=[nightly_job(), retrain_job(pipeline), *(load_job(name) for name in pipeline.sources)],
        executor=dg.in_process_executor,  # also for what somebody starts from the screen: the lock is a process's
        schedules=[nightly_schedule(pipeline), weekly_retraining(pipeline)],
        sensors=[landing_sensor(pipeline)],
        resources={"dbt": build_dbt_resource(pipeline), NIGHT: build_night_resource(pipeline)},
    )


@dg.definitions
def defs() -> dg.Definitions:
    """The definitions of the environment; made when a code location loads this module, not when it is imported."""
    return build_defs()
