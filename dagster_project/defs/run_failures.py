"""Why a run failed, for its page, its tags and the terminal: the failed check, and the first failing row's place."""

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
    """The failure to raise for failed blocking checks, with the place of each check's first failing row.

    Also tags the run with the first check. The step must raise the failure itself, because Dagster's own message only
    names the checks. `files`: file names by delivery id.
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
    """The failure to raise for failed data tests of dbt. Also tags the run with the first test.

    `failed`: a description of the failing rows, by the name of the test.
    """
    messages = [
        f"warehouse: {test}: {what}. See dbt/tests and the model's own file for what must hold"
        for test, what in failed.items()
    ]
    instance.add_run_tags(run_id, {STOPPED_BY: messages[0][:_LONGEST]})
    return dg.Failure("A failed dbt test stopped the run.\n" + "\n".join(messages), allow_retries=False)


def describe_places(check: CheckResult, files: Mapping[str, str]) -> list[str]:
    """The places of a check's failing rows, with file names beside delivery ids. `files`: file names by delivery id."""
    return [re.sub(r"delivery_id (\w+), line_no", lambda m: _file(m[1], files), place) for place in check.places]


def _file(delivery: str, files: Mapping[str, str]) -> str:
    return f"{files.get(delivery, '?')} (delivery {delivery}), line"


@dg.failure_hook(name="tag_failed_step")
def tag_failed_step(context: dg.HookContext) -> None:
    """Tag a run with the failed step and its innermost error, unless a failed check has tagged the run already."""
    error, run = context.op_exception, context.instance.get_run_by_id(context.run_id)
    if error is None or run is None or STOPPED_BY in run.tags:
        return
    while error.__cause__ is not None:
        error = error.__cause__
    message = f"{context.op.name}: {type(error).__name__}: {error}"
    context.instance.add_run_tags(context.run_id, {FAILED_IN: message[:_LONGEST]})


def blocking_failures(result: dg.ExecuteInProcessResult) -> list[str]:
    """The checks that stopped a run, each with its advice. Leaves out early warnings, which never stop a run."""
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
    """The reasons why a run failed: one line per failed step, with the step's innermost error."""
    errors = [_reason(e.step_key, e.step_failure_data.error) for e in events if e.is_step_failure]
    # A failure outside a step, for example of the home's lock, is only in the run's last event.
    return errors or [_reason("run", e.job_failure_data.error) for e in events if e.is_job_failure]


def _reason(where: str | None, error: "SerializableErrorInfo | None") -> str:
    """A failure as one line, with the innermost error."""
    while error is not None and error.cause is not None:
        error = error.cause
    return f"{where}: {error.message.strip() if error else 'failed'}"


def snapshot_id_of(result: dg.ExecuteInProcessResult) -> str | None:
    """The id of the snapshot that a run wrote; None if the run wrote none."""
    for event in result.get_asset_materialization_events():
        materialization = event.materialization
        if materialization.asset_key.path == list(SNAPSHOT_ASSET):
            return str(materialization.metadata["snapshot_id"].value)
    return None
