"""Schedules: the night starts at 02:00, in the time zone of the settings."""

import dagster as dg

from dagster_project.jobs import NIGHTLY


def nightly_schedule(timezone: str) -> dg.ScheduleDefinition:
    """Running from the start: a night that somebody has to switch on is a night that nobody watches fail."""
    return dg.ScheduleDefinition(
        name="every_night",
        job_name=NIGHTLY,
        cron_schedule="0 2 * * *",
        execution_timezone=timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
