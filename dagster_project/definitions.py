"""The Dagster code location, which combines Creditloom's own definitions with those that a user adds."""

import dagster as dg

from dagster_project.defs.assets.early_warnings import build_early_warning_assets
from dagster_project.defs.assets.landing import build_landing_asset
from dagster_project.defs.assets.model import build_model_assets
from dagster_project.defs.assets.portfolio import build_portfolio_assets
from dagster_project.defs.assets.quarantine import build_quarantine_asset
from dagster_project.defs.assets.raw import build_raw_assets
from dagster_project.defs.assets.scores import build_scores_asset
from dagster_project.defs.assets.snapshot import build_snapshot_asset
from dagster_project.defs.assets.warehouse import build_dbt_resource, build_warehouse_assets
from dagster_project.defs.checks import build_checks
from dagster_project.defs.instance import prepare_home
from dagster_project.defs.jobs import load_job, nightly_job, retrain_job
from dagster_project.defs.resources import NIGHT, build_night_resource
from dagster_project.defs.schedules import nightly_schedule, weekly_retraining
from dagster_project.defs.sensors import landing_sensor
from dagster_project.home.settings import PROJECT_ROOT
from dagster_project.night.guards import guards_of
from dagster_project.night.pipeline import Pipeline, load_pipeline
from dagster_project.warehouse.runner import prepare_manifest, published_models


def build_defs(pipeline: Pipeline | None = None) -> dg.Definitions:
    """Return all of Creditloom's Dagster definitions for a pipeline.

    This also upgrades the home if it is older than the code, creates its folders, and lets dbt parse its project if
    anything in it has changed. If `pipeline` is None, the pipeline is loaded with the settings of the environment.
    """
    pipeline = pipeline or load_pipeline()
    prepare_home(pipeline.settings)
    _ = (
        pipeline.code
    )  # computed now, because this process runs the code that it loaded, even if files change on disk later
    owners = pipeline.policy.owners
    manifest = prepare_manifest(pipeline.settings, pipeline.policy)
    assets = [
        *(build_landing_asset(source, owners.data) for source in pipeline.sources.values()),
        *(build_raw_assets(source, owners.data) for source in pipeline.sources.values()),
        build_quarantine_asset(pipeline, owners.data),
        build_warehouse_assets(pipeline, manifest),
        *(asset for name in pipeline.sources for asset in build_model_assets(name, owners.models)),
        build_scores_asset(pipeline),
        build_portfolio_assets(pipeline.policy),
        *build_early_warning_assets(pipeline),
        build_snapshot_asset(pipeline.policy, sorted(published_models(manifest))),
    ]
    return dg.Definitions(
        assets=assets,
        asset_checks=[build_checks(guard) for guard in guards_of(pipeline)],
        jobs=[nightly_job(assets), retrain_job(pipeline), *(load_job(name) for name in pipeline.sources)],
        executor=dg.in_process_executor,  # also for runs started from the UI: the home's lock belongs to one process
        schedules=[nightly_schedule(pipeline), weekly_retraining(pipeline)],
        sensors=[landing_sensor(pipeline)],
        resources={"dbt": build_dbt_resource(pipeline), NIGHT: build_night_resource(pipeline)},
    )


@dg.definitions
def defs() -> dg.Definitions:
    """Return Creditloom's definitions together with the user's definitions from the folder `defs/yours`.

    Dagster calls this function when it loads the code location.
    """
    return dg.Definitions.merge(build_defs(), dg.load_from_defs_folder(path_within_project=PROJECT_ROOT))
