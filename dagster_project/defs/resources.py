"""The resource that every step needs: the night it belongs to, and that a run is the only one in its home.

Which day a run takes for today, and up to which instant it sees deliveries, is this resource's config, so that whoever
starts a run, from the command line or from the screen, says it in one place and the run's page shows it.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg

from dagster_project.defs.instance import HOLDS_HOME, fail_orphaned_runs
from dagster_project.home.locks import home_lock
from dagster_project.night import audit_entries
from dagster_project.night.pipeline import Pipeline

NIGHT = "night"
KNOWN_AS_OF = "creditloom/known_as_of"  # the tag of a rebuilt night

_CONFIG = {
    "on": dg.Field(
        str,
        is_required=False,
        description="Replay: the day (2026-03-31) that the run takes for today; later files have not arrived.",
    ),
    "known_as_of": dg.Field(
        str,
        is_required=False,
        description="Rebuild: the instant (2026-03-31T02:00:00, UTC) up to which deliveries and decisions are seen.",
    ),
    "intake": dg.Field(
        bool, default_value=True, description="False: build on what the lake has; what waits goes on waiting."
    ),
    "only": dg.Field(
        [str],
        is_required=False,
        description="Take in only what waits of these sources; that of others goes on waiting.",
    ),
}


class NightConfigError(ValueError):
    """The config of the resource `night` names no day or instant, or both of them."""


def build_night_resource(pipeline: Pipeline) -> dg.ResourceDefinition:
    """Yields the run's pipeline; held from before a run's first step until after its last one, in one process."""

    @dg.resource(config_schema=_CONFIG, description="The night's clock and what it may see; the home's lock.")
    def _night(context: dg.InitResourceContext) -> Iterator[Pipeline]:
        tonight = _configured(pipeline, context.resource_config)
        with home_lock(pipeline.settings.home):
            if context.instance and context.run:
                own = context.run.run_id
                for run_id in fail_orphaned_runs(context.instance, own):
                    dg.get_dagster_logger().warning(f"run {run_id} was dead; ended it and freed what it held")
                context.instance.add_run_tags(own, {HOLDS_HOME: "true", **_tags(tonight)})
            tonight.check_clock()
            tonight.check_disk_space()
            audit_entries.begin(tonight, context.run.run_id if context.run else "")
            yield tonight

    return _night


def _tags(pipeline: Pipeline) -> dict[str, str]:
    """What a run's page says of it at the top."""
    policy = pipeline.policy
    said = {"code": pipeline.code[:12], "policy": f"{policy.jurisdiction}, version {policy.version}"}
    if pipeline.on:
        said["replays"] = pipeline.on.isoformat()
    tags = {f"creditloom/{name}": value for name, value in said.items()}
    return tags | ({KNOWN_AS_OF: pipeline.known_as_of.isoformat()} if pipeline.known_as_of else {})


def night_config(pipeline: Pipeline) -> dict[str, dict[str, dict[str, str | bool | list[str]]]]:
    """The run config (its part `resources`) that says what this pipeline says of its night."""
    said: dict[str, str | bool | list[str] | None] = {
        "intake": pipeline.intake,
        "only": sorted(pipeline.only) if pipeline.only is not None else None,
        "on": pipeline.on.isoformat() if pipeline.on else None,
        "known_as_of": pipeline.known_as_of.isoformat() if pipeline.known_as_of else None,
    }
    return {NIGHT: {"config": {name: value for name, value in said.items() if value is not None}}}


def _configured(pipeline: Pipeline, config: dict[str, Any]) -> Pipeline:
    try:
        on = date.fromisoformat(config["on"]) if "on" in config else None
        instant = datetime.fromisoformat(config["known_as_of"]) if "known_as_of" in config else None
    except ValueError as error:
        raise NightConfigError(f"config of the resource `night`: {error}; a day is 2026-03-31") from None
    if on and instant:
        raise NightConfigError("config of the resource `night`: `on` replays a day, `known_as_of` rebuilds one")
    if instant and instant.tzinfo:
        instant = instant.astimezone(UTC).replace(tzinfo=None)
    only = frozenset(config["only"]) if "only" in config else None
    if strangers := sorted((only or frozenset()) - pipeline.sources.keys()):
        raise NightConfigError(f"config of the resource `night`: no source {', '.join(strangers)} in the policy")
    return replace(pipeline, on=on, known_as_of=instant, intake=config["intake"], only=only)
