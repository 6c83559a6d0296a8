"""The landing sensor, which starts a night soon after files have landed, without waiting for the schedule."""

import time
from pathlib import Path

import dagster as dg

from dagster_project.defs.jobs import NIGHTLY
from dagster_project.defs.partitions import add_waiting_days
from dagster_project.home.locks import BACKFILL, is_locked
from dagster_project.ingestion.lake.landing import waiting
from dagster_project.night.pipeline import Pipeline
from dagster_project.snapshots.fingerprint import values_fingerprint

INTERVAL_SECONDS = 30


def landing_sensor(pipeline: Pipeline) -> dg.SensorDefinition:
    """Return the sensor that starts a night when files have landed and no more have arrived for `quiet_seconds`.

    The sensor starts only one run for the same set of waiting files, even if that run fails. It starts another run once
    a file is added or changed.
    """

    @dg.sensor(
        name="landing",
        job_name=NIGHTLY,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Runs the night when files have landed and no more have arrived for a while.",
    )
    def _landing(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        files = {name: waiting(source, pipeline.ingest_context) for name, source in pipeline.sources.items()}
        if not any(files.values()):
            return dg.SkipReason(f"{pipeline.ingest_context.landing} has no new files")
        add_waiting_days(context.instance, pipeline)
        if is_locked(pipeline.settings.home, "night", BACKFILL):
            return dg.SkipReason("a night or a backfill is running; the files are checked again after it")
        drop = {f"{name}/{path.name}": _state(path) for name, paths in files.items() for path in paths}
        quiet = time.time() - max(arrived for arrived, _ in drop.values())
        if quiet < pipeline.policy.ingestion.quiet_seconds:
            return dg.SkipReason(
                f"{len(drop)} files have landed; the newest arrived {quiet:.0f} s ago, and more may follow"
            )
        tags = {f"creditloom/files_of_{name}": str(len(paths)) for name, paths in files.items() if paths}
        return dg.RunRequest(run_key=values_fingerprint(drop), tags=tags | {"creditloom/started_by": "landing"})

    return _landing


def _state(path: Path) -> tuple[float, int]:
    """Return the time at which a file was last renamed or changed, in seconds since 1970, and its size in bytes."""
    stat = path.stat()
    return max(stat.st_mtime, stat.st_ctime), stat.st_size
