"""The resource that every step needs: it makes a run the only one in its home, however the run was started."""

from collections.abc import Iterator

import dagster as dg

from dagster_project.alone import HOLDS_HOME, alone_in, bury_dead_runs
from dagster_project.resources import Pipeline

NIGHT = "night"


def build_night_resource(pipeline: Pipeline) -> dg.ResourceDefinition:
    """Held from before a run's first step until after its last one; jobs run in one process."""

    @dg.resource(description="The home's lock, and an end to runs that died holding something.")
    def _night(context: dg.InitResourceContext) -> Iterator[None]:
        with alone_in(pipeline.settings.home):
            if context.instance and context.run:
                own = context.run.run_id
                for run_id in bury_dead_runs(context.instance, own):
                    dg.get_dagster_logger().warning(f"run {run_id} was dead; ended it and freed what it held")
                context.instance.add_run_tags(own, {HOLDS_HOME: "true"})
            yield

    return _night
