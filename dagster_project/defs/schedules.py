"""Schedules in the time zone of the settings: the night (at 02:00 by default), retraining on Sundays at 04:00."""

from contextlib import suppress

import dagster as dg

from dagster_project.defs.jobs import NIGHTLY, RETRAIN
from dagster_project.home.locks import BACKFILL, NightRunningError, home_lock, is_locked
from dagster_project.night.notify import send_what_waits
from dagster_project.night.pipeline import Pipeline
from dagster_project.night.publish import nothing_new


def nightly_schedule(pipeline: Pipeline) -> dg.ScheduleDefinition:
    """Running from the start: a night that somebody has to switch on is a night that nobody watches fail."""

    @dg.schedule(
        name="every_night",
        job_name=NIGHTLY,
        cron_schedule=pipeline.settings.night_cron,
        execution_timezone=pipeline.settings.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="The whole night, unless neither files nor code nor policy nor models have changed.",
    )
    def _every_night() -> dg.RunRequest | dg.SkipReason:
        if is_locked(pipeline.settings.home, "night", BACKFILL):  # a second one behind it would only repeat its work
            return dg.SkipReason("a night or a backfill is running; what arrives meanwhile is the landing sensor's")
        snapshot = nothing_new(pipeline)
        if snapshot:
            with suppress(NightRunningError), home_lock(pipeline.settings.home):
                send_what_waits(pipeline)
            return dg.SkipReason(f"nothing new: snapshot {snapshot.snapshot_id} is current")
        return dg.RunRequest()

    return _every_night


def weekly_retraining(pipeline: Pipeline) -> dg.ScheduleDefinition:
    """Labels of twelve months mature one cohort a month: a nightly refit would be noise."""
    return dg.ScheduleDefinition(
        name="every_week",
        job_name=RETRAIN,
        cron_schedule="0 4 * * 0",
        execution_timezone=pipeline.settings.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="A candidate for each source; it is held while a champion stands.",
    )
