"""The status of a home: its published snapshot, the last night, and the deliveries and the model of each source."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import polars as pl

from dagster_project.defs.instance import LastNight, last_night
from dagster_project.ingestion import quarantine
from dagster_project.ingestion.lake.landing import strays, unfinished, waiting
from dagster_project.ingestion.quarantine import OPEN
from dagster_project.night.pipeline import Pipeline
from dagster_project.snapshots.snapshot import INPUTS, current_snapshot

Freshness = Literal["fresh", "late", "stale", "nothing published"]


@dataclass(frozen=True)
class SourceStatus:
    """The status of one source.

    Attributes:
        name: the source's name.
        waiting_files: number of files that are ready to be taken in.
        unfinished_files: number of files that are still being written, or lack a manifest that the contract requires.
        deliveries: number of deliveries that were taken in.
        newest_file: file name of the newest delivery; None before the first delivery.
        newest_at: time (UTC) at which the newest delivery was taken in; None before the first delivery.
        accepted_rows: number of accepted rows in all deliveries.
        quarantined_rows: number of rows in all deliveries that are still in quarantine.
        quarantined_files: number of files that still have lines in quarantine.
        model: `champion`, or the reason why the source is not scored.
        model_version: version of the champion; None if the source has no champion.
        auc: AUC of the champion as recorded at its promotion; None if the source has no champion.
        scored: number of scored accounts in the current snapshot.
    """

    name: str
    waiting_files: int
    unfinished_files: int
    deliveries: int
    newest_file: str | None
    newest_at: datetime | None
    accepted_rows: int
    quarantined_rows: int
    quarantined_files: int
    model: str
    model_version: str | None
    auc: float | None
    scored: int


@dataclass(frozen=True)
class Status:
    """The status of a home.

    Attributes:
        snapshot_id: id of the current snapshot; None if nothing is published.
        snapshot_sha256: hash of the current snapshot; None if nothing is published.
        verified_at: time (UTC) at which the last successful night ended, even if it published nothing new; None if
            nothing is published.
        freshness: how old `verified_at` is, judged by the limits in the policy.
        last_night: the newest run of the nightly job; None before the first one.
        strays: files in the landing folder that belong to no source.
        sources: the status of each source.
    """

    snapshot_id: str | None
    snapshot_sha256: str | None
    verified_at: datetime | None
    freshness: Freshness
    last_night: LastNight | None
    strays: tuple[str, ...]
    sources: tuple[SourceStatus, ...]


def status(pipeline: Pipeline) -> Status:
    """Read the status of a home from its receipts, promotion ledger, current snapshot and Dagster instance.

    Raises:
        SnapshotCorruptionError: the manifest of the current snapshot is missing or unreadable.
    """
    published = pipeline.settings.published
    snapshot = current_snapshot(published)
    metrics = snapshot.metrics() if snapshot else {}
    record = published / INPUTS
    verified = datetime.fromtimestamp(record.stat().st_mtime, UTC) if snapshot and record.exists() else None
    return Status(
        snapshot_id=snapshot.snapshot_id if snapshot else None,
        snapshot_sha256=snapshot.sha256 if snapshot else None,
        verified_at=verified,
        freshness=_freshness(pipeline, verified),
        last_night=last_night(pipeline.settings),
        strays=tuple(strays(pipeline.ingest_context, pipeline.sources)),
        sources=tuple(_source(pipeline, name, metrics) for name in pipeline.sources),
    )


def _freshness(pipeline: Pipeline, verified: datetime | None) -> Freshness:
    if verified is None:
        return "nothing published"
    hours = (datetime.now(UTC) - verified).total_seconds() / 3600
    limits = pipeline.policy.freshness
    return "fresh" if hours <= limits.warn_hours else "late" if hours <= limits.fail_hours else "stale"


def _source(pipeline: Pipeline, name: str, metrics: dict[str, float | int | str]) -> SourceStatus:
    receipts = pipeline.receipts(name)
    newest = receipts[-1] if receipts else None
    held = quarantine.held(pipeline.ingest_context, name)
    champion = pipeline.champion(name)
    return SourceStatus(
        name=name,
        waiting_files=len(waiting(pipeline.sources[name], pipeline.ingest_context)),
        unfinished_files=len(unfinished(pipeline.sources[name], pipeline.ingest_context)),
        deliveries=sum(r.readmits is None for r in receipts),
        newest_file=newest.file_name if newest else None,
        newest_at=newest.ingested_at.replace(tzinfo=UTC) if newest else None,
        accepted_rows=sum(r.accepted_rows for r in receipts),
        quarantined_rows=sum(r.quarantined_rows for r in receipts),
        quarantined_files=held.filter(pl.col("state") == OPEN)["delivery_id"].n_unique(),
        model=str(metrics.get(f"model.{name}.state", "champion" if champion else "none yet")),
        model_version=champion.model_version if champion else None,
        auc=float(champion.evidence["auc"]) if champion else None,
        scored=int(metrics.get(f"scores.{name}.count", 0)),
    )
