"""The publishing step: functions that verify that every check passed, and then publish marts, scores and metrics.

They also decide whether a night has anything new to publish. This module does not use Dagster.
"""

import json
import resource
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from dagster_project.early_warning.evaluate import KEYS
from dagster_project.home.files import replace_text
from dagster_project.ingestion.lake.landing import waiting
from dagster_project.night import audit_entries
from dagster_project.night.guards import Guard, guards_of
from dagster_project.night.notify import EARLY_WARNINGS
from dagster_project.night.pipeline import MARTS, Pipeline
from dagster_project.night.skip_reasons import why_unscored
from dagster_project.portfolio.tables import TABLES
from dagster_project.reporting.metrics import (
    Value,
    check_metrics,
    ingest_metrics,
    model_metrics,
    portfolio_metrics,
    score_metrics,
    warning_metrics,
)
from dagster_project.snapshots.fingerprint import values_fingerprint
from dagster_project.snapshots.snapshot import (
    Snapshot,
    SnapshotTable,
    current_inputs,
    current_snapshot,
    snapshot_faults,
    table_of,
    verified,
    write_snapshot,
)
from dagster_project.warehouse.runner import declared_tests, manifest_file, published_models, test_verdicts
from expectations.suite import CheckResult, SuiteResult
from ml.reasons import FAMILIES


class UnauditedError(RuntimeError):
    """Raised if a night's results must not be published, so that nothing is published.

    This is the case if a declared check was not evaluated in this run, if a critical check or a dbt data test failed,
    or if a source has lost all its loan months.
    """


_DBT_TESTS = "dbt_tests"
_MONTHS = "fct_loan_months"


def record_suite(pipeline: Pipeline, result: SuiteResult, run_id: str) -> None:
    """Store the result of a suite for the publishing step, together with the id of the run that evaluated it."""
    _write_record(pipeline, result.suite, run_id, asdict(result))


def record_dbt_tests(pipeline: Pipeline, run_id: str) -> None:
    """Store the results of dbt's data tests for the publishing step, with the id of the run that executed them."""
    _write_record(pipeline, _DBT_TESTS, run_id, {"verdicts": test_verdicts(pipeline.settings)})


def _write_record(pipeline: Pipeline, name: str, run_id: str, values: dict[str, object]) -> None:
    path = pipeline.settings.build / "checks" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, json.dumps({"run_id": run_id, **values}))


def _read_record(pipeline: Pipeline, name: str, run_id: str) -> dict[str, Any]:
    """Return the record that this run stored under the given name, or an empty dictionary if this run stored none."""
    path = pipeline.settings.build / "checks" / f"{name}.json"
    record: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return record if record.get("run_id") == run_id else {}


def audited_results(pipeline: Pipeline, run_id: str) -> tuple[list[SuiteResult], int]:
    """Return the results of all suites that were not skipped tonight, and the number of dbt data tests.

    The result is only returned if no critical check failed and every dbt data test passed or only gave a warning.

    Raises:
        UnauditedError: a check or a dbt data test was not evaluated in this run, a critical check failed, or a dbt data
            test failed.
    """
    guards = [guard for guard in guards_of(pipeline) if guard.skip_reason(pipeline) is None]
    results = [_recorded(pipeline, guard, run_id) for guard in guards]
    failed = [f"{r.suite}: {c.name}" for r in results for c in r.blocking_failures]
    if failed:
        raise UnauditedError(f"critical checks failed: {'; '.join(failed)}")
    declared = declared_tests(manifest_file(pipeline.settings))
    verdicts = _read_record(pipeline, _DBT_TESTS, run_id).get("verdicts", {})
    open_tests = sorted(name for name in declared if verdicts.get(name) not in ("pass", "warn"))
    if open_tests:
        raise UnauditedError(
            f"dbt: {len(open_tests)} of {len(declared)} declared data tests did not pass in this run, "
            f"first {open_tests[0]}; nothing is published"
        )
    return results, len(declared)


def _recorded(pipeline: Pipeline, guard: Guard, run_id: str) -> SuiteResult:
    name, declared = guard.suite.name, [c.name for c in guard.suite.checks]
    record = _read_record(pipeline, name, run_id)
    evaluated = [c["name"] for c in record.get("checks", [])]
    if evaluated != declared:
        raise UnauditedError(
            f"suite {name}: {len(declared)} checks are declared, {len(evaluated)} were evaluated in this run; "
            "nothing is published"
        )
    return SuiteResult(name, record["declared"], tuple(CheckResult(**c) for c in record["checks"]))


def warehouse_is_published(pipeline: Pipeline) -> bool:
    """Return whether the current snapshot was published from the warehouse as it is now."""
    snapshot, mark = current_snapshot(pipeline.settings.published), _mark(pipeline)
    return snapshot is not None and mark.exists() and mark.read_text() == snapshot.sha256


def mark_warehouse_changed(pipeline: Pipeline) -> None:
    """Record that the warehouse may no longer match the published snapshot. Call this before the warehouse is changed.

    Retraining is then skipped until a night publishes the warehouse.
    """
    _mark(pipeline).unlink(missing_ok=True)


def _mark(pipeline: Pipeline) -> Path:
    return pipeline.settings.build / "published_from_here.txt"


def publish_night(pipeline: Pipeline, run_id: str, started_at: float) -> tuple[Snapshot, bool]:
    """Publish the night's results.

    A rebuilt night writes a snapshot, but leaves the current snapshot in place.

    Returns:
        The snapshot, and whether its content differs from the snapshot that was current before.

    Raises:
        UnauditedError: the checks do not allow publication (see `audited_results`), or a source has no loan months any
            more, although the current snapshot has some.
        SnapshotCorruptionError: tonight's content differs from the current snapshot, and the current snapshot is
            damaged.
    """
    settings = pipeline.settings
    suites, dbt_tests = audited_results(pipeline, run_id)
    scores = pl.read_parquet(pipeline.scores_file)
    portfolio = {name: pl.read_parquet(pipeline.portfolio_file(name)) for name in TABLES}
    warnings = pl.read_parquet(pipeline.early_warnings_file)
    tables = [
        *_marts(pipeline),
        *(table_of(name, frame, TABLES[name]) for name, frame in portfolio.items()),
        table_of("scores", scores, ("source", "loan_id")),
        table_of(EARLY_WARNINGS, warnings, KEYS),
        _reason_codes(),
    ]
    metrics: dict[str, Value] = {
        **ingest_metrics(pipeline.receipts()),
        **score_metrics(scores),
        **portfolio_metrics(portfolio, _limits(pipeline)),
        **check_metrics(suites, dbt_tests),
        **warning_metrics(warnings),
        "checks.skipped": sum(len(g.suite.checks) for g in guards_of(pipeline) if g.skip_reason(pipeline)),
        "policy.version": pipeline.policy.version,
        "policy.jurisdiction": pipeline.policy.jurisdiction,
        "run.id": run_id,
        "run.seconds": round(time.time() - started_at, 1),
        "run.peak_mb": _peak_mb(),
    }
    for name in pipeline.active_sources():
        champion = pipeline.champion(name)
        metrics[f"model.{name}.state"] = why_unscored(pipeline, name) or "champion"
        if champion:
            metrics |= model_metrics(name, champion.model_version, champion.sha256, champion.evidence)
    # A rebuilt night shows an earlier state; it must not replace the current snapshot.
    current = not pipeline.known_as_of
    inputs, admit = night_inputs(pipeline), partial(_refuse_lost_sources, pipeline)
    snapshot, changed = write_snapshot(settings.published, tables, metrics, inputs, make_current=current, admit=admit)
    audit_entries.record_publication(pipeline, snapshot, changed, inputs, run_id)
    if current:
        replace_text(_mark(pipeline), snapshot.sha256)
    return snapshot, changed


def _refuse_lost_sources(pipeline: Pipeline) -> None:
    """Raise an error if the current snapshot has loan months of a source, but the warehouse has none.

    This comparison is needed because an empty table passes every check of its rows.

    Raises:
        UnauditedError: at least one source has lost all its loan months.
        SnapshotCorruptionError: the current snapshot is damaged.
    """
    snapshot = current_snapshot(pipeline.settings.published)
    if snapshot is None:
        return
    had = set(
        pl.scan_parquet(verified(snapshot).folder / f"{_MONTHS}.parquet").select("source").unique().collect()["source"]
    )
    with pipeline.read_warehouse() as db:
        has = {row[0] for row in db.execute(f"select distinct source from {MARTS}.{_MONTHS}").fetchall()}  # noqa: S608
    lost = sorted((had & set(pipeline.active_sources())) - has)
    if lost:
        raise UnauditedError(
            f"{', '.join(lost)} had loan months in snapshot {snapshot.snapshot_id} and would have none now: check the "
            "source's policy (arrears_basis) and its newest deliveries; nothing is published"
        )


def nothing_new(pipeline: Pipeline) -> Snapshot | None:
    """Return the current snapshot if there is nothing new to publish, or None if the night must run.

    There is nothing new if no file waits for ingestion, the inputs and the warehouse are those of the current snapshot,
    and the snapshot is undamaged. A rebuilt night must always run.
    """
    taken_in = (source for name, source in pipeline.sources.items() if pipeline.takes_in(name))
    arrived = any(waiting(source, pipeline.ingest_context, pipeline.on) for source in taken_in)
    if pipeline.known_as_of or arrived or not warehouse_is_published(pipeline):
        return None
    if current_inputs(pipeline.settings.published) != night_inputs(pipeline):
        return None
    snapshot = current_snapshot(pipeline.settings.published)
    # If the snapshot is damaged, the night runs and repairs it.
    return snapshot if snapshot and not snapshot_faults(snapshot.folder) else None


def night_inputs(pipeline: Pipeline) -> dict[str, str]:
    """Return the fingerprints of everything that determines the content of a snapshot.

    The keys are `code` (code, lock files, policy and the user's own contracts), `receipts` (the ingested deliveries)
    and `champions`.
    """
    receipts = [(r.source, r.sha256, r.state) for r in pipeline.receipts()]
    champions = {name: c.sha256 for name in pipeline.sources if (c := pipeline.champion(name))}
    return {
        "code": pipeline.code,
        "receipts": values_fingerprint({"receipts": receipts}),
        "champions": values_fingerprint(champions),
    }


def _marts(pipeline: Pipeline) -> list[SnapshotTable]:
    """Return the marts to publish.

    Each mart is written by DuckDB, because DuckDB can sort tables that are larger than memory.
    """
    models = published_models(manifest_file(pipeline.settings))
    return [
        SnapshotTable(name, partial(_write_mart, pipeline, relation, keys)) for name, (relation, keys) in models.items()
    ]


def _write_mart(pipeline: Pipeline, relation: str, keys: Sequence[str], path: Path) -> int:
    query = f"select * from {relation} order by {', '.join(keys)}"  # noqa: S608
    with pipeline.read_warehouse() as db:
        copied = db.execute(f"copy ({query}) to '{path}' (format parquet, compression zstd)").fetchall()
    return int(copied[0][0])


def _limits(pipeline: Pipeline) -> pl.DataFrame:
    with pipeline.read_warehouse() as db:
        rows: pl.DataFrame = db.sql(f"select source, limit_name, status from {MARTS}.port_limits").pl()  # noqa: S608
    return rows


def _reason_codes() -> SnapshotTable:
    frame = pl.DataFrame({"code": [f.code for f in FAMILIES], "text": [f.text for f in FAMILIES]})
    return table_of("reason_codes", frame, ("code",))


def _peak_mb() -> int:
    """Return the peak memory use in MB, which is the larger of two figures.

    These are the peak of this process, and the highest peak of any child process that has ended.
    """
    kilobytes = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return kilobytes // 1024
