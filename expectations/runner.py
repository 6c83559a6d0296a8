"""Evaluation of a suite with Great Expectations, in SQL.

The results contain the outcome of each check, counts of rows, and the keys of some failing rows. They contain no other
values from the data.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import duckdb

from expectations.suite import Check, CheckResult, Suite, SuiteResult

# Kinds of checks whose observed value is the number of failing rows.
_COUNTED = ("UnexpectedRowsExpectation",)
# Columns that locate a row: its line in a delivery, or its source and month. Loan numbers are never shown.
_PLACES = (("delivery_id", "line_no"), ("source", "month_on"), ("source", "as_of_on"), ("source",))
_SHOWN = 5


class IncompleteSuiteError(RuntimeError):
    """Great Expectations did not evaluate exactly the declared checks, so the result of the suite cannot be trusted."""


def run_suite(suite: Suite, database: Path, schema: str | None = None, memory: str | None = None) -> SuiteResult:
    """Evaluate every check of a suite on its table in a DuckDB file.

    The file is opened read-only.

    Args:
        suite: the checks, and the name of the table that they are evaluated on.
        database: the DuckDB file.
        schema: the schema that contains the table. None means the default schema.
        memory: how much memory DuckDB may use before it writes temporary data to disk, for example "2GB". None
            means DuckDB's default, which is most of the machine's memory.

    Raises:
        IncompleteSuiteError: the evaluated checks are not exactly the declared checks.
    """
    declared = {check.name: check for check in suite.checks}
    with _batch(suite.table, database, schema, memory) as (batch, gx):
        made = [_expectation(gx, check) for check in suite.checks]
        # SUMMARY returns counts only: no value of a failing row is requested or kept.
        wanted = {"result_format": "SUMMARY", "partial_unexpected_count": 0}
        outcome = batch.validate(gx.ExpectationSuite(suite.name, expectations=made), result_format=wanted)
    found = {r.expectation_config.meta["check"]: r for r in outcome.results}
    if found.keys() != declared.keys():
        raise IncompleteSuiteError(
            f"suite {suite.name}: {len(declared)} checks are declared, {len(found)} were evaluated; "
            f"without a verdict: {sorted(declared.keys() - found.keys())}"
        )
    results = tuple(_result(check, found[name]) for name, check in declared.items())
    return SuiteResult(suite.name, len(declared), _with_places(suite, results, database, schema))


@contextmanager
def _batch(table: str, database: Path, schema: str | None, memory: str | None) -> Iterator[tuple[Any, Any]]:
    """Yield the table as a batch of Great Expectations, together with the module `great_expectations`.

    Great Expectations opens a new connection for each query, and opening the file takes longer than most queries. One
    extra connection is therefore kept open inside the `with` block, so that the file stays open. After the block no
    connection is open, because an open connection would prevent other processes from writing to the file.
    """
    import sqlalchemy
    from sqlalchemy.pool import NullPool

    gx, context = _context()
    # The connection sets the schema, because some metrics of Great Expectations ignore the schema of the asset.
    arguments = {"read_only": True, "schema": schema, "memory": memory}
    address, options = f"duckdb+gx:///{database}", {"connect_args": arguments, "poolclass": NullPool}
    with sqlalchemy.create_engine(address, **options).connect():
        data = context.data_sources.add_or_update_sql("warehouse", connection_string=address, kwargs=options)
        asset = data.add_table_asset(table, table_name=table)
        yield asset.add_batch_definition_whole_table("all").get_batch(), gx


@cache
def _context() -> tuple[Any, Any]:
    """Return the module `great_expectations`, and the context that all suites in this process share."""
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig
    from sqlalchemy.dialects import registry

    registry.register("duckdb.gx", "expectations.dialect", "BufferedDuckDB")
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    return gx, context


def _expectation(gx: Any, check: Check) -> Any:
    return getattr(gx.expectations, check.kind)(**check.kwargs, meta={"check": check.name})


def _result(check: Check, outcome: Any) -> CheckResult:
    raised = _raised(outcome.exception_info or {})
    rows, failing = outcome.result.get("element_count"), outcome.result.get("unexpected_count")
    if check.kind in _COUNTED:
        failing = outcome.result.get("observed_value")
    return CheckResult(
        name=check.name,
        passed=bool(outcome.success) and not raised,
        severity=check.severity,
        advice=check.advice,
        rows=rows,
        failing_rows=failing,
        error="the check could not be evaluated: its column or query does not fit the table" if raised else None,
    )


def _with_places(
    suite: Suite, results: tuple[CheckResult, ...], database: Path, schema: str | None
) -> tuple[CheckResult, ...]:
    """Return the results, and add to each failed result the keys of its first failing rows, five at most.

    A result is returned unchanged if its check passed, could not be evaluated, or does not apply to single rows. All
    results are returned unchanged if the table has none of the key columns in `_PLACES`. If no result needs keys, the
    table is not read.
    """
    conditions = {check.name: check.failing for check in suite.checks}
    if all(result.passed or result.error or not conditions[result.name] for result in results):
        return results
    table = f"{schema}.{suite.table}" if schema else suite.table
    with duckdb.connect(str(database), read_only=True) as db:
        named = [name for name, *_ in db.sql(f"describe {table}").fetchall()]
        by = next((keys for keys in _PLACES if set(keys) <= set(named)), None)
        if by is None:
            return results
        return tuple(
            result
            if result.passed or result.error or not conditions[result.name]
            else replace(result, places=_places(db, table, by, str(conditions[result.name])))
            for result in results
        )


def _places(db: duckdb.DuckDBPyConnection, table: str, by: tuple[str, ...], condition: str) -> tuple[str, ...]:
    keys = ", ".join(by)
    query = f"select distinct {keys} from {table} where {condition.format(batch=table)} order by {keys} limit {_SHOWN}"  # noqa: S608
    return tuple(", ".join(f"{k} {v}" for k, v in zip(by, row, strict=True)) for row in db.sql(query).fetchall())


def _raised(info: dict[str, Any]) -> bool:
    """Return whether the evaluation of a check raised an exception.

    `info` is the `exception_info` of a result of Great Expectations. It contains either one flag for the whole check,
    or one flag for each metric that the check uses.
    """
    flags = [info.get("raised_exception"), *(i.get("raised_exception") for i in info.values() if isinstance(i, dict))]
    return any(flags)
