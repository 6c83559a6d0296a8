"""The audit rows of a run: publications, model decisions, erasures and replays.

Each row is written after the event that it records. If a crash happens in between, the start of the next run writes
the missing row and marks it late. `ingestion.commit` writes the rows of deliveries. No Dagster.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict

from dagster_project.audit.chain import Entry, Fact, Kind
from dagster_project.ingestion.commit import write_missing_audit_rows
from dagster_project.ingestion.persons.erasure import Erasure
from dagster_project.night.pipeline import Pipeline
from dagster_project.snapshots.snapshot import Snapshot, current_snapshot
from ml.promote import Decision


def begin_run(pipeline: Pipeline, run_id: str) -> None:
    """At the start of a run, write the rows that are missing, and record the run if it is a replay.

    Raises:
        AuditError: the audit chain is broken; the run must not continue.
    """
    write_missing_rows(pipeline)
    if pipeline.on:
        pipeline.ingest_context.audit.append([Entry(Kind.REPLAY, pipeline.on.isoformat(), {"run_id": run_id})])


def write_missing_rows(pipeline: Pipeline) -> None:
    """Write the audit rows lost in a crash: for deliveries, decisions, erasures and the current snapshot."""
    audit = pipeline.ingest_context.audit
    write_missing_audit_rows(pipeline.ingest_context)
    if pipeline.settings.ledger_file.exists():
        recorded = audit.subjects(Kind.PROMOTION)
        missing = [_decision(number, decision) for number, decision in pipeline.ledger.numbered()]
        audit.append([e for e in missing if e.subject not in recorded], late=True)
    erased = {s for name in pipeline.sources for s in _subjects(name, pipeline.ingest_context.key_store.erased(name))}
    recorded = {row.subject for row in audit.rows(Kind.ERASURE) if not row.parsed_facts().get("held_until")}
    audit.append([Entry(Kind.ERASURE, subject, {}) for subject in sorted(erased - recorded)], late=True)
    snapshot, newest = current_snapshot(pipeline.settings.published), audit.newest(Kind.PUBLISH)
    if snapshot and (newest is None or newest.parsed_facts()["snapshot_sha256"] != snapshot.sha256):
        facts = {"snapshot_sha256": snapshot.sha256}
        audit.append([Entry(Kind.PUBLISH, snapshot.snapshot_id, facts)], late=True)


def record_decision(pipeline: Pipeline, number: int, decision: Decision) -> None:
    """Record a decision in the audit chain. `number`: its number in the promotion ledger."""
    pipeline.ingest_context.audit.append([_decision(number, decision)])


def record_publication(
    pipeline: Pipeline, snapshot: Snapshot, changed: bool, inputs: Mapping[str, str], run_id: str
) -> None:
    """Record that a night was published or rebuilt.

    `changed`: whether the snapshot's content is new. `inputs`: fingerprints of the night's inputs.
    """
    kind = Kind.REBUILD if pipeline.known_as_of else Kind.PUBLISH
    as_of = {"known_as_of": pipeline.known_as_of.isoformat()} if pipeline.known_as_of else {}
    facts: dict[str, Fact] = {
        "snapshot_sha256": snapshot.sha256,
        "changed": changed,
        "run_id": run_id,
        **as_of,
        **inputs,
    }
    pipeline.ingest_context.audit.append([Entry(kind, snapshot.snapshot_id, facts)])


def record_erasure(pipeline: Pipeline, erasure: Erasure) -> None:
    """Record that a person was erased, or that a hold prevented the erasure. Rows name the person by pseudonym only."""
    facts: dict[str, Fact] = {"held_until": erasure.held.until.isoformat() if erasure.held else None}
    facts |= {"rewritten": erasure.rewritten, "records": erasure.records, "destroyed": erasure.destroyed}
    facts |= {"left": len(erasure.proof.left) if erasure.proof else None}
    subjects = _subjects(erasure.source, erasure.pseudonyms)
    pipeline.ingest_context.audit.append([Entry(Kind.ERASURE, subject, facts) for subject in subjects])


def _subjects(source: str, pseudonyms: Iterable[str]) -> list[str]:
    return [f"{source}/{pseudonym}" for pseudonym in pseudonyms]


def _decision(number: int, decision: Decision) -> Entry:
    facts = {
        "decision": decision.decision,
        "model": f"{decision.model_name} version {decision.model_version}",
        "sha256": decision.sha256,
        "ledger": decision_fingerprint(decision),
    }
    return Entry(Kind.PROMOTION, f"{decision.source}/{number}", facts)


def decision_fingerprint(decision: Decision) -> str:
    """The sha256 of a complete row of the promotion ledger."""
    return hashlib.sha256(json.dumps(asdict(decision), sort_keys=True, default=str).encode()).hexdigest()
