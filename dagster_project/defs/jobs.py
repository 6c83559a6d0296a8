"""The Dagster jobs: the night, the retraining, and one job per source that takes in landed files.

Each job runs in a single process, so that Python modules are imported only once.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import dagster as dg

from dagster_project.defs.asset_keys import champion_asset, landing_asset, training_set_asset
from dagster_project.defs.run_failures import tag_failed_step
from dagster_project.night.pipeline import Pipeline

if TYPE_CHECKING:  # Dagster does not export this type
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

NIGHTLY, RETRAIN = "nightly", "retrain"
KNOWN_AS_OF = "creditloom/known_as_of"  # tag of a rebuilt night
# Tags of runs that the command line starts. Their log goes to the Dagster instance, only the summary to the terminal.
STARTED_BY = {"creditloom/started_by": "command line"}
SILENT_CONSOLE = {"console": {"config": {"log_level": "CRITICAL"}}}


def load_job_name(source: str) -> str:
    """Return the name of the job that takes in the landed files of a source."""
    return f"load_{source}"


def load_job(source: str) -> "UnresolvedAssetJobDefinition":
    """Return the job that takes the files of one landing day of a source into the lake.

    The job does not build the warehouse. The next night does, with the new files.
    """
    return dg.define_asset_job(
        load_job_name(source),
        selection=dg.AssetSelection.assets(dg.AssetKey(landing_asset(source))),
        executor_def=dg.in_process_executor,
        hooks={tag_failed_step},
        description=f"Backfill: take in selected landing days of {source}. The next night builds on them.",
    )


def nightly_job(assets: Iterable[dg.AssetsDefinition]) -> "UnresolvedAssetJobDefinition":
    """Return the job that runs a whole night, from the intake of landed files to the published snapshot.

    The job includes all checks and the notifications. `assets` contains only Creditloom's own assets. Assets that a
    user adds are not part of the night, so they cannot make it fail.
    """
    keys = [key for asset in assets for key in asset.keys]
    return dg.define_asset_job(
        NIGHTLY,
        selection=dg.AssetSelection.assets(*keys) - dg.AssetSelection.groups("landing"),
        executor_def=dg.in_process_executor,
        description="The whole night: take in landed files, build and test the warehouse, score, publish, notify.",
        hooks={tag_failed_step},
        tags={"dagster/max_runtime": 3 * 60 * 60},
    )


def retrain_job(pipeline: Pipeline) -> "UnresolvedAssetJobDefinition":
    """Return the job that trains a candidate for each source that already has a champion.

    The candidates are trained on the warehouse from which the current snapshot was published. If the warehouse has
    changed since then, no candidate is trained. Nights continue to score with the champions.
    """
    keys = [key for name in pipeline.sources for key in (training_set_asset(name), champion_asset(name))]
    champions = {"__".join(champion_asset(name)): {"config": {"retrain": True}} for name in pipeline.sources}
    return dg.define_asset_job(
        RETRAIN,
        selection=dg.AssetSelection.assets(*map(dg.AssetKey, keys)),
        executor_def=dg.in_process_executor,
        config={"ops": champions},
        hooks={tag_failed_step},
        description="Train a candidate for every source that has delivered; it is held if there is a champion.",
    )
