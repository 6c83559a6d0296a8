"""The Dagster resource `night`, which gives each step of a run the pipeline, and locks the home during the run.

The config of the resource sets the day that a replay treats as today, or the time as of which a night is rebuilt. It
also sets whether, and from which sources, landed files are taken in. The command line and the UI use the same config,
and the UI shows it on the run's page.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg

from dagster_project.defs.instance import HOLDS_HOME, fail_orphaned_runs
from dagster_project.defs.jobs import KNOWN_AS_OF
from dagster_project.home.locks import home_lock
from dagster_project.night import audit_entries
from dagster_project.night.pipeline import Pipeline

NIGHT = "night"

_CONFIG = {
    "on": dg.Field(
        str,
        is_required=False,
        description="Replay: the day (2026-03-31) that the run treats as today. Files of later days are left out.",
    ),
    "known_as_of": dg.Field(
        str,
        is_required=False,
        description="Rebuild: the instant (2026-03-31T02:00:00, UTC) up to which deliveries and decisions are seen.",
    ),
    "intake": dg.Field(
        bool,
        default_value=True,
        description="Take in landed files. If false, the run builds on the lake as it is, and the files stay.",
    ),
    "only": dg.Field(
        [str],
        is_required=False,
        description="Take in only the files of these sources. Files of other sources stay in their landing folders.",
    ),
}


class NightConfigError(ValueError):
    """Raised if the config of the resource `night` is invalid.

    This is the case if the day or the time cannot be parsed, if both are set, or if a source is not in the policy.
    """


def build_night_resource(pipeline: Pipeline) -> dg.ResourceDefinition:
    """Return the resource that gives the steps of a run their pipeline.

    The resource holds the home's lock from the first step of a run to the last, so that no other run can use the home.
    Before the first step, it marks dead runs as failed, checks the clock and the disk space, and writes missing audit
    rows.
    """

    @dg.resource(
        config_schema=_CONFIG, description="The night's clock, the deliveries that it sees, and the home's lock."
    )
    def _night(context: dg.InitResourceContext) -> Iterator[Pipeline]:
        tonight = _configured(pipeline, context.resource_config)
        with home_lock(pipeline.settings.home):
            if context.instance and context.run:
                own = context.run.run_id
                for run_id in fail_orphaned_runs(context.instance, own):
                    dg.get_dagster_logger().warning(
                        f"run {run_id} had lost its process: marked it as failed and freed its slots"
                    )
                context.instance.add_run_tags(own, {HOLDS_HOME: "true", **_tags(tonight)})
            tonight.check_clock()
            tonight.check_disk_space()
            audit_entries.begin_run(tonight, context.run.run_id if context.run else "")
            yield tonight

    return _night


def _tags(pipeline: Pipeline) -> dict[str, str]:
    """Return the tags that describe a run in the Dagster UI.

    They contain the fingerprint of the code, the version of the policy, and the day of a replay or the time of a
    rebuild.
    """
    policy = pipeline.policy
    tags = {"code": pipeline.code[:12], "policy": f"{policy.jurisdiction}, version {policy.version}"}
    if pipeline.on:
        tags["replays"] = pipeline.on.isoformat()
    named = {f"creditloom/{name}": value for name, value in tags.items()}
    return named | ({KNOWN_AS_OF: pipeline.known_as_of.isoformat()} if pipeline.known_as_of else {})


def night_config(pipeline: Pipeline) -> dict[str, dict[str, dict[str, str | bool | list[str]]]]:
    """Return the `resources` section of a run config that makes the run use this pipeline's options.

    The options are `on`, `known_as_of`, `intake` and `only`. Options that are None are left out.
    """
    config: dict[str, str | bool | list[str] | None] = {
        "intake": pipeline.intake,
        "only": sorted(pipeline.only) if pipeline.only is not None else None,
        "on": pipeline.on.isoformat() if pipeline.on else None,
        "known_as_of": pipeline.known_as_of.isoformat() if pipeline.known_as_of else None,
    }
    return {NIGHT: {"config": {name: value for name, value in config.items() if value is not None}}}


def _configured(pipeline: Pipeline, config: dict[str, Any]) -> Pipeline:
    try:
        on = date.fromisoformat(config["on"]) if "on" in config else None
        instant = datetime.fromisoformat(config["known_as_of"]) if "known_as_of" in config else None
    except ValueError as error:
        raise NightConfigError(f"config of the resource `night`: {error}; write a day as 2026-03-31") from None
    if on and instant:
        raise NightConfigError("config of the resource `night`: set `on` (replay) or `known_as_of` (rebuild), not both")
    if instant and instant.tzinfo:
        instant = instant.astimezone(UTC).replace(tzinfo=None)
    only = frozenset(config["only"]) if "only" in config else None
    if unknown := sorted((only or frozenset()) - pipeline.sources.keys()):
        raise NightConfigError(f"config of the resource `night`: no source {', '.join(unknown)} in the policy")
    return replace(pipeline, on=on, known_as_of=instant, intake=config["intake"], only=only)
