"""Functions that write rows to the audit chain for replays, publications, model decisions and erasures.

Each row is written after the event that it records. If a crash prevents this, the next run writes the missing row when
it starts, and marks it as late. The rows of deliveries are written by `ingestion.commit`. This module does not use
Dagster.
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
    """Write the audit rows that earlier runs could not write because of a crash. Record a replay as well.

    Call this at the start of a run. If the run is a replay, a row with the replayed day and the run's id is added.

    Raises:
        AuditError: the audit log does not match its head, so the run must not continue.
    """
    write_missing_rows(pipeline)
    if pipeline.on:
        pipeline.ingest_context.audit.append([Entry(Kind.REPLAY, pipeline.on.isoformat(), {"run_id": run_id})])


def write_missing_rows(pipeline: Pipeline) -> None:
    """Write the audit rows that are missing because of a crash, and mark them as late.

    Rows can be missing for deliveries, model decisions, erasures and the current snapshot.

    Raises:
        AuditError: rows are missing, but the audit log does not match its head, so nothing can be appended.
    """
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
    """Write a row about a model decision to the audit chain.

    Args:
        pipeline: the pipeline of the run.
        number: the number of the decision in the promotion ledger.
        decision: the decision.
    """
    pipeline.ingest_context.audit.append([_decision(number, decision)])


def record_publication(
    pipeline: Pipeline, snapshot: Snapshot, changed: bool, inputs: Mapping[str, str], run_id: str
) -> None:
    """Write a row to the audit chain about the snapshot that resulted from this run.

    The row's kind is `rebuild` if the run rebuilt an earlier night, and `publish` otherwise.

    Args:
        pipeline: the pipeline of the run.
        snapshot: the snapshot.
        changed: whether the snapshot's content differs from the snapshot that was current before.
        inputs: the fingerprints of the night's inputs, by name.
        run_id: the id of the Dagster run.
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
    """Write audit rows about the erasure of a person, or about an erasure that a hold prevented.

    There is one row for each of the person's pseudonyms. The rows contain nothing else that identifies the person.
    """
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
    """Return the sha256 of all fields of a decision, in hexadecimal."""
    return hashlib.sha256(json.dumps(asdict(decision), sort_keys=True, default=str).encode()).hexdigest()
