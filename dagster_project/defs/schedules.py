"""The schedules, in the time zone of the settings: one starts the night, and one starts the weekly retraining.

By default, the night starts at 02:00. The retraining starts on Sundays at 04:00.
"""

from contextlib import suppress

import dagster as dg

from dagster_project.defs.jobs import NIGHTLY, RETRAIN
from dagster_project.home.locks import BACKFILL, NightRunningError, home_lock, is_locked
from dagster_project.night.notify import send_pending
from dagster_project.night.pipeline import Pipeline
from dagster_project.night.publish import nothing_new


def nightly_schedule(pipeline: Pipeline) -> dg.ScheduleDefinition:
    """Return the schedule that starts a night, unless there is nothing new or a night or backfill is already running.

    If there is nothing new, the schedule sends the messages that earlier nights could not send. It is switched on by
    default, so that nobody needs to remember to do it.
    """

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
    """Return the schedule that starts the retraining once a week.

    Retraining every night would only add noise, because twelve-month labels become known only once a month.
    """
    return dg.ScheduleDefinition(
        name="every_week",
        job_name=RETRAIN,
        cron_schedule="0 4 * * 0",
        execution_timezone=pipeline.settings.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Trains a candidate for each source. If the source has a champion, the candidate is held.",
    )
