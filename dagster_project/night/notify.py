"""Sends the changes of early warnings over the configured channels. No Dagster.

Only published results are sent; a night that was stopped or rebuilt sends nothing. If a channel does not accept a
message, the next night sends it again, even if that night has nothing new.
"""

import polars as pl

from dagster_project.early_warning.channels import Channel, LogChannel, WebhookChannel
from dagster_project.early_warning.messages import Message, changes
from dagster_project.early_warning.outbox import Outbox, Sent
from dagster_project.night.pipeline import Pipeline
from dagster_project.snapshots.snapshot import current_snapshot

EARLY_WARNINGS = "early_warnings"


def outbox(pipeline: Pipeline) -> Outbox:
    """The outbox of this home."""
    return Outbox(pipeline.settings.outbox_file)


def channels(pipeline: Pipeline) -> list[Channel]:
    """The policy's channels whose settings are complete. A replayed night writes only to the log."""
    settings, policy = pipeline.settings, pipeline.policy.early_warning
    address = settings.warnings_webhook
    available: dict[str, Channel] = {"log": LogChannel(settings.warnings_log)}
    if address and not pipeline.on:
        available["webhook"] = WebhookChannel(address.get_secret_value(), policy.webhook_timeout_seconds)
    return [available[name] for name in policy.channels if name in available]


def send_changes(pipeline: Pipeline) -> tuple[list[Message], Sent]:
    """Write a message for each change since the last reported change, and send all pending messages.

    Returns the new messages, and the messages that each channel accepted or refused. A rebuilt night, and a home
    without a published snapshot, write and send nothing.
    """
    snapshot, used = current_snapshot(pipeline.settings.published), channels(pipeline)
    if snapshot is None or pipeline.known_as_of:
        return [], Sent({}, {})
    history = pl.read_parquet(snapshot.folder / f"{EARLY_WARNINGS}.parquet")
    policy, now = pipeline.policy.early_warning, pipeline.now()
    names = [channel.name for channel in used]
    new = outbox(pipeline).write(lambda reported: changes(history, reported, policy), names, now)
    return new, outbox(pipeline).send(used, now)


def send_pending(pipeline: Pipeline) -> Sent:
    """Send the pending messages in a night that has nothing new. The caller must hold the home's lock."""
    if not pipeline.settings.outbox_file.exists() or pipeline.known_as_of:
        return Sent({}, {})
    return outbox(pipeline).send(channels(pipeline), pipeline.now())
