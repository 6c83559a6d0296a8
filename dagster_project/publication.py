"""What a night publishes: asserts that every check was evaluated, writes marts, scores and metrics. No Dagster."""

import json
import resource
import time
from dataclasses import asdict

import duckdb
import polars as pl

from dagster_project.dbt_project import build_results, published_models
from dagster_project.publishing.fingerprint import code_fingerprint, values_fingerprint
from dagster_project.publishing.snapshot import PublishedTable, Snapshot, publish
from dagster_project.reporting.metrics import Value, check_metrics, ingest_metrics, model_metrics, score_metrics
from dagster_project.resources import Guard, Pipeline
from dagster_project.settings import PROJECT_ROOT
from expectations.suite import CheckResult, SuiteResult
from ml.reasons import FAMILIES


class UnauditedError(RuntimeError):
    """A declared check was not evaluated in this run, or did not pass: nothing is published."""


def record(pipeline: Pipeline, result: SuiteResult, run_id: str) -> None:
    """Keep a suite's result for the publishing step, with the run that it belongs to."""
    path = pipeline.settings.build / "checks" / f"{result.suite}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"run_id": run_id, **asdict(result)}))


def audited(pipeline: Pipeline, run_id: str) -> list[SuiteResult]:
    """The results of every declared suite in this run.

    Raises:
        UnauditedError: one is missing, incomplete, of another run, or has a failed critical check.
    """
    results = [_recorded(pipeline, guard, run_id) for guard in pipeline.guards]
    failed = [f"{r.suite}: {c.name}" for r in results for c in r.blocking_failures]
    if failed:
        raise UnauditedError(f"critical checks failed: {'; '.join(failed)}")
    return results


def _recorded(pipeline: Pipeline, guard: Guard, run_id: str) -> SuiteResult:
    name, declared = guard.suite.name, [c.name for c in guard.suite.checks]
    path = pipeline.settings.build / "checks" / f"{name}.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    evaluated = [c["name"] for c in found.get("checks", [])]
    if found.get("run_id") != run_id or evaluated != declared:
        raise UnauditedError(
            f"suite {name}: {len(declared)} checks are declared, {len(evaluated)} were evaluated"
            f"{'' if found.get('run_id') == run_id else ', none of them in this run'}; nothing is published"
        )
    return SuiteResult(name, found["declared"], tuple(CheckResult(**c) for c in found["checks"]))


def publish_night(pipeline: Pipeline, run_id: str, started_at: float) -> tuple[Snapshot, bool]:
    """Publish what the night built. Returns the snapshot and whether its content is new.

    Raises:
        UnauditedError: see `audited`.
    """
    settings = pipeline.settings
    suites = audited(pipeline, run_id)
    dbt = build_results(settings)
    scores = pl.read_parquet(pipeline.scores_file)
    tables = [*_marts(pipeline), PublishedTable("scores", scores, ("source", "loan_id")), _reason_codes()]
    metrics: dict[str, Value] = {
        **ingest_metrics(pipeline.border.book.all()),
        **score_metrics(scores),
        **check_metrics(suites, dbt.tests, dbt.failures),
        "policy.version": pipeline.policy.version,
        "policy.jurisdiction": pipeline.policy.jurisdiction,
        "run.id": run_id,
        "run.seconds": round(time.time() - started_at, 1),
        "run.peak_mb": _peak_mb(),
    }
    for name in pipeline.sources:
        champion = pipeline.ledger.champion(name)
        if champion:
            metrics |= model_metrics(name, champion.model_version, champion.sha256, champion.evidence)
    return publish(settings.published, tables, metrics, night_inputs(pipeline))


def night_inputs(pipeline: Pipeline) -> dict[str, str]:
    """What decides a snapshot: code and policy, what was ingested, and which models score."""
    receipts = [(r.source, r.sha256, r.state) for r in pipeline.border.book.all()]
    champions = {name: c.sha256 for name in pipeline.sources if (c := pipeline.ledger.champion(name))}
    return {
        "code": code_fingerprint(PROJECT_ROOT, pipeline.settings.policy),
        "receipts": values_fingerprint({"receipts": receipts}),
        "champions": values_fingerprint(champions),
    }


def _marts(pipeline: Pipeline) -> list[PublishedTable]:
    models = published_models(pipeline.settings.dbt_target / "manifest.json")
    with duckdb.connect(str(pipeline.settings.warehouse_file), read_only=True) as db:
        return [
            PublishedTable(name, db.sql(f"select * from {relation}").pl(), keys)  # noqa: S608
            for name, (relation, keys) in models.items()
        ]


def _reason_codes() -> PublishedTable:
    frame = pl.DataFrame({"code": [f.code for f in FAMILIES], "text": [f.text for f in FAMILIES]})
    return PublishedTable("reason_codes", frame, ("code",))


def _peak_mb() -> int:
    """Largest resident memory of this process or of one that it waited for, in MB."""
    kilobytes = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return kilobytes // 1024
