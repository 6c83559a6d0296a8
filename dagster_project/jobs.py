"""Jobs: the whole night, in one process (one process a step costs half a minute of imports)."""

from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:  # the type has no public name
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

NIGHTLY = "nightly"


def nightly_job() -> "UnresolvedAssetJobDefinition":
    """Everything from landing to snapshot, with every check on the way."""
    return dg.define_asset_job(
        NIGHTLY,
        selection=dg.AssetSelection.all(),
        executor_def=dg.in_process_executor,
        description="Take in what landed, build and test the warehouse, score, publish.",
        tags={"dagster/max_runtime": 3 * 60 * 60},
    )
