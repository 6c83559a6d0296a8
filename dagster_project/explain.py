"""Why a run failed, on its first screen: delivery, line and rule in its last event, and a tag in the list of runs."""

import re
from collections.abc import Mapping, Sequence

import dagster as dg

from dagster_project.resources import Guard
from expectations.suite import CheckResult

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
        said.append(f"{'/'.join(guard.asset)}: {check.name}{rows}{first}. {check.advice}")
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
