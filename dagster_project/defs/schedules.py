"""Schedules in the time zone of the settings: the night (02:00 by default), and retraining on Sundays at 04:00."""

from contextlib import suppress

import dagster as dg

from dagster_project.defs.jobs import NIGHTLY, RETRAIN
from dagster_project.home.locks import BACKFILL, NightRunningError, home_lock, is_locked
from dagster_project.night.notify import send_pending
from dagster_project.night.pipeline import Pipeline
from dagster_project.night.publish import nothing_new


def nightly_schedule(pipeline: Pipeline) -> dg.ScheduleDefinition:
    """The nightly schedule. It is on by default, so that nobody can forget to switch it on."""

    @dg.schedule(
        name="every_night",
        job_name=NIGHTLY,
        cron_schedule=pipeline.settings.night_cron,
        execution_timezone=pipeline.settings.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Runs the night, unless files, code, policy and models are all unchanged.",
    )
    def _every_night() -> dg.RunRequest | dg.SkipReason:
        if is_locked(pipeline.settings.home, "night", BACKFILL):  # a second run would repeat the same work
            return dg.SkipReason(
                "a night or a backfill is running; the landing sensor handles files that arrive meanwhile"
            )
        snapshot = nothing_new(pipeline)
        if snapshot:
            with suppress(NightRunningError), home_lock(pipeline.settings.home):
                send_pending(pipeline)
            return dg.SkipReason(f"nothing new: snapshot {snapshot.snapshot_id} is current")
        return dg.RunRequest()

    return _every_night


def weekly_retraining(pipeline: Pipeline) -> dg.ScheduleDefinition:
    """The weekly retraining. Nightly retraining would only add noise: twelve-month labels mature once per month."""
    return dg.ScheduleDefinition(
        name="every_week",
        job_name=RETRAIN,
        cron_schedule="0 4 * * 0",
        execution_timezone=pipeline.settings.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Trains a candidate for each source. If the source has a champion, the candidate is held.",
    )
