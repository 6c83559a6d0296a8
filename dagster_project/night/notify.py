"""Functions that send messages about changes of early warnings to the configured channels.

Only published results are sent. A night that failed before publication sends nothing, and neither does a rebuilt night.
If a channel does not accept a message, the next night sends it again, even if that night has nothing new. This module
does not use Dagster.
"""

import polars as pl

from dagster_project.early_warning.channels import Channel, LogChannel, WebhookChannel
from dagster_project.early_warning.messages import Message, changes
from dagster_project.early_warning.outbox import Outbox, Sent
from dagster_project.night.pipeline import Pipeline
from dagster_project.snapshots.snapshot import current_snapshot

EARLY_WARNINGS = "early_warnings"


def outbox(pipeline: Pipeline) -> Outbox:
    """Return the outbox of the home, which stores all messages and whether each channel has accepted them."""
    return Outbox(pipeline.settings.outbox_file)


def channels(pipeline: Pipeline) -> list[Channel]:
    """Return the channels that the policy names and that are fully configured.

    The webhook is left out if no address is set, and in a replay, so that a replay writes only to the log.
    """
    settings, policy = pipeline.settings, pipeline.policy.early_warning
    address = settings.warnings_webhook
    available: dict[str, Channel] = {"log": LogChannel(settings.warnings_log)}
    if address and not pipeline.on:
        available["webhook"] = WebhookChannel(address.get_secret_value(), policy.webhook_timeout_seconds)
    return [available[name] for name in policy.channels if name in available]


def send_changes(pipeline: Pipeline) -> tuple[list[Message], Sent]:
    """Write a message for each early warning whose state differs from the last reported one, and send unsent messages.

    Returns the new messages, and a summary of what each channel accepted or refused. If the night is a rebuild, or if
    no snapshot has been published yet, nothing is written or sent, and both parts of the result are empty.
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
    """Send the messages that earlier nights could not send. Call this in a night that has nothing new to publish.

    Returns a summary of what each channel accepted or refused. The summary is empty if there is no outbox yet, or if
    the night is a rebuild. The caller must hold the lock of the home.
    """
    if not pipeline.settings.outbox_file.exists() or pipeline.known_as_of:
        return Sent({}, {})
    return outbox(pipeline).send(channels(pipeline), pipeline.now())
