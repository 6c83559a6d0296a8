"""Who is told of what a night published: early warnings that changed, by the channels in use. No Dagster.

Told is what is published, and nothing of a night that was stopped or rebuilt. What a channel did not take waits for the
next night, also for one that finds nothing new.
"""

import polars as pl

from dagster_project.early_warning.channels import Channel, LogChannel, WebhookChannel
from dagster_project.early_warning.messages import Message, changes
from dagster_project.early_warning.outbox import Outbox, Sent
from dagster_project.night.pipeline import Pipeline
from dagster_project.snapshots.snapshot import current_snapshot

EARLY_WARNINGS = "early_warnings"


def outbox(pipeline: Pipeline) -> Outbox:
    """The home's outbox."""
    return Outbox(pipeline.settings.outbox_file)


def channels(pipeline: Pipeline) -> list[Channel]:
    """The channels in use: those of the policy that have what they need. What is replayed is told to the log alone."""
    settings, policy = pipeline.settings, pipeline.policy.early_warning
    address = settings.warnings_webhook
    made: dict[str, Channel] = {"log": LogChannel(settings.warnings_log)}
    if address and not pipeline.on:
        made["webhook"] = WebhookChannel(address.get_secret_value(), policy.webhook_timeout_seconds)
    return [made[name] for name in policy.channels if name in made]


def send_changes(pipeline: Pipeline) -> tuple[list[Message], Sent]:
    """Write what has changed since people were told, and send it with what still waits.

    Returns the new messages, and what was sent.
    """
    snapshot, used = current_snapshot(pipeline.settings.published), channels(pipeline)
    if snapshot is None or pipeline.known_as_of:
        return [], Sent({}, {})
    history = pl.read_parquet(snapshot.folder / f"{EARLY_WARNINGS}.parquet")
    policy, now = pipeline.policy.early_warning, pipeline.now()
    names = [channel.name for channel in used]
    made = outbox(pipeline).write(lambda reported: changes(history, reported, policy), names, now)
    return made, outbox(pipeline).send(used, now)


def send_what_waits(pipeline: Pipeline) -> Sent:
    """Send again what a channel did not take; for a night that has nothing new. One at a time in a home."""
    if not pipeline.settings.outbox_file.exists() or pipeline.known_as_of:
        return Sent({}, {})
    return outbox(pipeline).send(channels(pipeline), pipeline.now())
