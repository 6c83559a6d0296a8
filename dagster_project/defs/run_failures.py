"""Why a run failed: the first failing delivery, line and rule, for the run's page, its tags and the terminal."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import dagster as dg

from dagster_project.defs.asset_keys import EARLY_WARNINGS_ASSET, SNAPSHOT_ASSET, guarded_asset
from dagster_project.night.guards import Guard
from expectations.suite import CheckResult

if TYPE_CHECKING:
    from dagster_shared.error import SerializableErrorInfo

STOPPED_BY, FAILED_IN = "creditloom/stopped_by", "creditloom/failed_in"
_LONGEST = 400


def stopped_by(
    instance: dg.DagsterInstance, run_id: str, guard: Guard, failed: Sequence[CheckResult], files: Mapping[str, str]
) -> dg.Failure:
    """The failure to raise for blocking checks: each with where its first failing row is. Tags the run with the first.

    Raised by the step itself, because Dagster's own message names the checks and nothing else.
    """
    said = []
    for check in failed:
        where = in_words(check, files)[:1]
        rows = f"; {check.failing_rows:,} rows" if check.failing_rows else ""
        first = f", the first: {where[0]}" if where else ""
        said.append(f"{'/'.join(guarded_asset(guard))}: {check.name}{rows}{first}. {check.advice}")
    instance.add_run_tags(run_id, {STOPPED_BY: said[0][:_LONGEST]})
    return dg.Failure("A blocking check stopped the run.\n" + "\n".join(said), allow_retries=False)


def stopped_by_tests(instance: dg.DagsterInstance, run_id: str, failed: Mapping[str, str]) -> dg.Failure:
    """The failure to raise for dbt's data tests. `failed`: what broke each. Tags the run with the first."""
    said = [
        f"warehouse: {test}: {what}. See dbt/tests and the model's own file for what must hold"
        for test, what in failed.items()
    ]
    instance.add_run_tags(run_id, {STOPPED_BY: said[0][:_LONGEST]})
    return dg.Failure("A failed test stopped the run.\n" + "\n".join(said), allow_retries=False)


def in_words(check: CheckResult, files: Mapping[str, str]) -> list[str]:
    """The places of a check's failing rows, a delivery by the name of its file. `files`: names by delivery."""
    return [re.sub(r"delivery_id (\w+), line_no", lambda m: _file(m[1], files), place) for place in check.places]


def _file(delivery: str, files: Mapping[str, str]) -> str:
    return f"{files.get(delivery, '?')} (delivery {delivery}), line"


@dg.failure_hook(name="tag_with_what_failed")
def tag_with_what_failed(context: dg.HookContext) -> None:
    """Tag a run with the step that failed and its innermost error, unless a check has said more already."""
    error, run = context.op_exception, context.instance.get_run_by_id(context.run_id)
    if error is None or run is None or STOPPED_BY in run.tags:
        return
    while error.__cause__ is not None:
        error = error.__cause__
    said = f"{context.op.name}: {type(error).__name__}: {error}"
    context.instance.add_run_tags(context.run_id, {FAILED_IN: said[:_LONGEST]})


def blocking_failures(result: dg.ExecuteInProcessResult) -> list[str]:
    """The checks that stopped a run, each with what to do. An early warning is about the book, and stops nothing."""
    return [
        f"{check.asset_key.to_user_string()}: {check.check_name}: {_advice(check)}"
        for check in result.get_asset_check_evaluations()
        if not check.passed
        and check.severity == dg.AssetCheckSeverity.ERROR
        and check.asset_key.path != list(EARLY_WARNINGS_ASSET)
    ]


def _advice(evaluation: dg.AssetCheckEvaluation) -> str:
    found = evaluation.metadata.get("what to do")
    rows = evaluation.metadata.get("failing_rows")
    words = str(found.value) if found else evaluation.description or "failed"
    return f"{words} ({rows.value} rows)" if rows else words


def failure_reasons(events: Sequence[dg.DagsterEvent]) -> list[str]:
    """Why a run failed: the step and its innermost error, in one line each."""
    errors = [_reason(e.step_key, e.step_failure_data.error) for e in events if e.is_step_failure]
    # What fails outside of a step, as the lock may, is told by the run's own last event.
    return errors or [_reason("run", e.job_failure_data.error) for e in events if e.is_job_failure]


def _reason(where: str | None, error: "SerializableErrorInfo | None") -> str:
    """A failure in one line: the innermost error that was raised."""
    while error is not None and error.cause is not None:
        error = error.cause
    return f"{where}: {error.message.strip() if error else 'failed'}"


def published_snapshot(result: dg.ExecuteInProcessResult) -> str | None:
    """The id of the snapshot that a run published; None if it published none."""
    for event in result.get_asset_materialization_events():
        made = event.materialization
        if made.asset_key.path == list(SNAPSHOT_ASSET):
            return str(made.metadata["snapshot_id"].value)
    return None
