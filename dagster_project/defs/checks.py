"""Asset checks that evaluate the suites of a night.

Each expectation in a suite becomes an asset check, so that the Dagster UI shows which expectation failed.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import dagster as dg
import duckdb

from dagster_project.defs.asset_keys import guarded_asset
from dagster_project.defs.resources import NIGHT
from dagster_project.defs.run_failures import check_failure, describe_places
from dagster_project.night.guards import Guard
from dagster_project.night.incremental_checks import evaluate_raw
from dagster_project.night.pipeline import MARTS, Pipeline
from dagster_project.night.publish import record_suite
from expectations.suite import CheckResult, Suite, SuiteResult


def build_checks(guard: Guard) -> dg.AssetChecksDefinition:
    """Return the asset checks of the table that a guard checks, one for each check in the suite.

    If a critical check fails, the assets downstream of the table are not built. If the guard gives a reason to skip the
    suite tonight, all its checks pass and show this reason.
    """
    asset = dg.AssetKey(guarded_asset(guard))
    specs = [
        dg.AssetCheckSpec(
            check.name, asset=asset, blocking=check.severity == "critical", description=f"If it fails: {check.advice}."
        )
        for check in guard.suite.checks
    ]

    @dg.multi_asset_check(
        name=f"check_{guard.suite.name}", specs=specs, pool="warehouse", required_resource_keys={NIGHT}
    )
    def _check(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        pipeline: Pipeline = context.resources.night
        reason = guard.skip_reason(pipeline)
        if reason:
            for spec in specs:
                yield dg.AssetCheckResult(
                    passed=True, asset_key=asset, check_name=spec.name, metadata={"not evaluated": reason}
                )
            return
        result, files_read = evaluate(pipeline, guard)
        record_suite(pipeline, result, context.run.run_id)
        files = {r.delivery_id: r.file_name for r in pipeline.receipts(guard.source)} if guard.source else {}
        for check in result.checks:
            yield _as_dagster(asset, check, files, files_read)
        if result.blocking_failures:
            raise check_failure(context.instance, context.run.run_id, guard, result.blocking_failures, files)

    return _check


def evaluate(pipeline: Pipeline, guard: Guard) -> tuple[SuiteResult, int | None]:
    """Evaluate the suite of a guard on the table in the warehouse, or on the guard's Parquet files if it has any.

    Returns the result and, for a raw table, the number of files that were read. For other tables, this number is None.
    """
    from expectations.runner import run_suite

    memory = pipeline.settings.duckdb_memory
    if guard.parquet is None:
        return run_suite(guard.suite, pipeline.settings.warehouse_file, MARTS, memory), None
    database = pipeline.settings.build / "views" / f"{guard.suite.name}.duckdb"

    def run_on_files(suite: Suite, files: list[Path]) -> SuiteResult:
        _expose(files, database, suite.table)
        return run_suite(suite, database, memory=memory)

    if guard.is_raw:
        return evaluate_raw(pipeline, guard, guard.parquet, run_on_files)
    return run_on_files(guard.suite, [guard.parquet]), None


def _expose(files: list[Path], database: Path, table: str) -> None:
    """Create a small database with a view over Parquet files.

    This is needed because Great Expectations can only check tables and views.
    """
    database.parent.mkdir(parents=True, exist_ok=True)
    listed = ", ".join(f"'{file}'" for file in files)
    with duckdb.connect(str(database)) as db:
        db.execute(f"create or replace view {table} as select * from read_parquet([{listed}])")  # noqa: S608


def _as_dagster(
    asset: dg.AssetKey, check: CheckResult, files: Mapping[str, str], files_read: int | None
) -> dg.AssetCheckResult:
    metadata: dict[str, int | str] = {} if files_read is None else {"files read": files_read}
    if check.rows is not None:
        metadata["rows"] = check.rows
    if check.failing_rows is not None:
        metadata["failing_rows"] = check.failing_rows
    if not check.passed:
        metadata["what to do"] = check.error or check.advice
    if check.places:
        metadata["where"] = "; ".join(describe_places(check, files))
    severity = dg.AssetCheckSeverity.ERROR if check.severity == "critical" else dg.AssetCheckSeverity.WARN
    return dg.AssetCheckResult(
        passed=check.passed, asset_key=asset, check_name=check.name, severity=severity, metadata=metadata
    )
