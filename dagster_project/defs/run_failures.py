"""Functions that describe why a run failed, for the run's page, its tags and the terminal.

For a failed check, the description names the check and the place of the first failing row.
"""

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


def check_failure(
    instance: dg.DagsterInstance, run_id: str, guard: Guard, failed: Sequence[CheckResult], files: Mapping[str, str]
) -> dg.Failure:
    """Return the exception to raise after blocking checks failed, and tag the run with a message about the first one.

    For each check, the exception's message contains the number of failing rows, the place of the first one, and advice.
    The calling step must raise the exception itself, because the message that Dagster would give contains only the
    names of the checks.

    Args:
        instance: the Dagster instance.
        run_id: the id of the run.
        guard: the guard whose checks failed.
        failed: the results of the failed checks; at least one.
        files: the names of the delivered files, by delivery id.
    """
    messages = []
    for check in failed:
        places = describe_places(check, files)[:1]
        rows = f"; {check.failing_rows:,} rows" if check.failing_rows else ""
        first = f", first {places[0]}" if places else ""
        messages.append(f"{'/'.join(guarded_asset(guard))}: {check.name}{rows}{first}. {check.advice}")
    instance.add_run_tags(run_id, {STOPPED_BY: messages[0][:_LONGEST]})
    return dg.Failure("A blocking check stopped the run.\n" + "\n".join(messages), allow_retries=False)


def dbt_test_failure(instance: dg.DagsterInstance, run_id: str, failed: Mapping[str, str]) -> dg.Failure:
    """Return the exception to raise after data tests of dbt failed, and tag the run with a message about the first one.

    Args:
        instance: the Dagster instance.
        run_id: the id of the run.
        failed: a description of the failing rows, by the name of the test; at least one.
    """
    messages = [
        f"warehouse: {test}: {what}. See dbt/tests and the model's own file for what must hold"
        for test, what in failed.items()
    ]
    instance.add_run_tags(run_id, {STOPPED_BY: messages[0][:_LONGEST]})
    return dg.Failure("A failed dbt test stopped the run.\n" + "\n".join(messages), allow_retries=False)


def describe_places(check: CheckResult, files: Mapping[str, str]) -> list[str]:
    """Return the places of a check's failing rows, with the name of the delivered file added to each delivery id.

    `files` contains the names of the files by delivery id. If an id is not in it, the name is shown as `?`.
    """
    return [re.sub(r"delivery_id (\w+), line_no", lambda m: _file(m[1], files), place) for place in check.places]


def _file(delivery: str, files: Mapping[str, str]) -> str:
    return f"{files.get(delivery, '?')} (delivery {delivery}), line"


@dg.failure_hook(name="tag_failed_step")
def tag_failed_step(context: dg.HookContext) -> None:
    """Tag a run with the name of the failed step and the original error that caused the failure.

    If a failed check or dbt test has already tagged the run, nothing is added.
    """
    error, run = context.op_exception, context.instance.get_run_by_id(context.run_id)
    if error is None or run is None or STOPPED_BY in run.tags:
        return
    while error.__cause__ is not None:
        error = error.__cause__
    message = f"{context.op.name}: {type(error).__name__}: {error}"
    context.instance.add_run_tags(context.run_id, {FAILED_IN: message[:_LONGEST]})


def blocking_failures(result: dg.ExecuteInProcessResult) -> list[str]:
    """Return a message for each failed check that stopped a run, with advice on what to do.

    Early warnings are left out, because they never stop a run.
    """
    return [
        f"{check.asset_key.to_user_string()}: {check.check_name}: {_advice(check)}"
        for check in result.get_asset_check_evaluations()
        if not check.passed
        and check.severity == dg.AssetCheckSeverity.ERROR
        and check.asset_key.path != list(EARLY_WARNINGS_ASSET)
    ]


def _advice(evaluation: dg.AssetCheckEvaluation) -> str:
    advice = evaluation.metadata.get("what to do")
    rows = evaluation.metadata.get("failing_rows")
    text = str(advice.value) if advice else evaluation.description or "failed"
    return f"{text} ({rows.value} rows)" if rows else text


def failure_reasons(events: Sequence[dg.DagsterEvent]) -> list[str]:
    """Return a message for each failed step of a run, with the original error that caused the failure.

    If no step failed, the error that ended the run is returned instead. The list is empty if the run did not fail.
    """
    errors = [_reason(e.step_key, e.step_failure_data.error) for e in events if e.is_step_failure]
    # A failure outside a step, for example of the home's lock, is only in the run's last event.
    return errors or [_reason("run", e.job_failure_data.error) for e in events if e.is_job_failure]


def _reason(where: str | None, error: "SerializableErrorInfo | None") -> str:
    """Return a message with the name of the step and the original error, which is the last in the chain of causes."""
    while error is not None and error.cause is not None:
        error = error.cause
    return f"{where}: {error.message.strip() if error else 'failed'}"


def snapshot_id_of(result: dg.ExecuteInProcessResult) -> str | None:
    """Return the id of the snapshot that a run published or rebuilt, or None if the run did not get that far."""
    for event in result.get_asset_materialization_events():
        materialization = event.materialization
        if materialization.asset_key.path == list(SNAPSHOT_ASSET):
            return str(materialization.metadata["snapshot_id"].value)
    return None
