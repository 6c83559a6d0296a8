"""Checks raw tables and reads each file only once, because lake files never change. No Dagster.

A raw table only grows, and the hashes of its files are checked before each night. So a night checks only the new files,
and adds the counts of the earlier files. Keys must be unique across all files: an index keeps the hashes of all keys.
The whole table is read again if the index already contains a delivered key. The whole table is also checked if the
suite changed, if a file was removed or replaced, and in a night that is rebuilt as of an earlier instant.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import reduce
from pathlib import Path

from dagster_project.home.files import replace_text
from dagster_project.ingestion.lake.key_index import KeyIndex, key_hashes
from dagster_project.ingestion.parsing.key_hash import HASHING
from dagster_project.night.guards import Guard
from dagster_project.night.pipeline import Pipeline
from dagster_project.snapshots.fingerprint import values_fingerprint
from expectations.suite import CheckResult, Suite, SuiteResult

Evaluate = Callable[[Suite, list[Path]], SuiteResult]
_SHOWN = 5
# New files are checked in parts of about this many rows: the search for repeated keys needs some 200 bytes per row.
_ROWS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class _Passed:
    """Earlier checks without a blocking failure: hashes of the files, results, and runs of the key index."""

    files: frozenset[str]
    checks: tuple[CheckResult, ...]
    runs: tuple[str, ...]


_NOTHING = _Passed(frozenset(), (), ())


def evaluate_raw(pipeline: Pipeline, guard: Guard, selection: Path, evaluate: Evaluate) -> tuple[SuiteResult, int]:
    """Evaluate a raw table's suite on its new files, and add the counts of the earlier files.

    A suite with a check that compares rows with each other is evaluated on the whole table; users may add such checks.

    Args:
        pipeline: the night's pipeline.
        guard: the guard of the raw table.
        selection: pattern of the files that the night reads.
        evaluate: runs a suite over Parquet files.

    Returns:
        The result for the whole table, and the number of files that were read.
    """
    suite = guard.suite
    found = [f for r in pipeline.receipts(guard.source) for f in r.files if f.table == suite.table]
    paths = {f.sha256: pipeline.ingest_context.lake / f.path for f in found}
    rows = Counter[str]()
    for file in found:
        rows[file.sha256] += file.rows
    keys = [check.key for check in suite.checks if check.key]
    by_file = len(keys) == 1 and all(check.is_by_row or check.key for check in suite.checks)
    if pipeline.known_as_of or not paths or not by_file:
        return evaluate(suite, [selection]), len(paths)
    folder = pipeline.settings.lake / "checked" / str(guard.source) / suite.table
    record = folder / f"{_fingerprint(suite)}.json"
    before = _read_record(record)
    if not before.files <= paths.keys():
        before = _NOTHING
    unseen = [sha256 for sha256 in paths if sha256 not in before.files]
    new = [paths[sha256] for sha256 in unseen]
    if not new and before.files:
        return SuiteResult(suite.name, len(suite.checks), before.checks), 0
    # A key that includes delivery_id can only repeat within one file.
    over_files = [] if "delivery_id" in keys[0] else [column for column in keys[0] if column != "source"]
    index, hashes = KeyIndex(folder, before.runs), key_hashes(new, over_files) if over_files else None
    # A key may repeat across two parts of the new files, once in each; checking the parts would not find it.
    if hashes is not None and (index.contains_any(hashes) or (hashes[1:] == hashes[:-1]).any()):
        return evaluate(suite, [selection]), len(paths)
    parts = [evaluate(suite, [paths[sha256] for sha256 in part]) for part in _parts(unseen, rows)]
    result = _add_earlier(reduce(_combine, parts), before)
    if new and not result.blocking_failures:
        if hashes is not None:
            index = index.add(hashes, values_fingerprint({"files": sorted(paths)})[:16])
        _write_record(record, _Passed(frozenset(paths), result.checks, index.runs))
        index.sweep()
    return result, len(new)


def _parts(files: list[str], rows: Mapping[str, int]) -> Iterator[list[str]]:
    """Yield the files in order, in parts of about `_ROWS_AT_ONCE` rows. There is at least one part."""
    part, held = list[str](), 0
    for file in files:
        if part and held + rows[file] > _ROWS_AT_ONCE:
            yield part
            part, held = [], 0
        part.append(file)
        held += rows[file]
    yield part


def _add_earlier(result: SuiteResult, before: _Passed) -> SuiteResult:
    """Combine the result for the new files with the result for the earlier files."""
    return _combine(result, replace(result, checks=before.checks)) if before.files else result


def _combine(result: SuiteResult, other: SuiteResult) -> SuiteResult:
    """Combine the results of a suite for two parts of a table."""
    others = {check.name: check for check in other.checks}
    return replace(result, checks=tuple(_sum(check, others[check.name]) for check in result.checks))


def _sum(new: CheckResult, before: CheckResult) -> CheckResult:
    failing = _add(new.failing_rows, before.failing_rows)
    return replace(
        new,
        # Earlier, only a warning can have failed. A check without a count of failing rows asks whether the table has
        # rows; it passes if either part has some.
        passed=not failing if failing is not None else before.passed or new.passed,
        rows=_add(new.rows, before.rows),
        failing_rows=failing,
        places=(*new.places, *before.places)[:_SHOWN],
    )


def _add(one: int | None, other: int | None) -> int | None:
    return None if one is None and other is None else (one or 0) + (other or 0)


def _fingerprint(suite: Suite) -> str:
    """The fingerprint of the suite and of the library that computes the hashes in the index."""
    checks = [asdict(check) for check in suite.checks]
    return values_fingerprint({"checks": checks, "hashing": HASHING})[:16]


def _read_record(record: Path) -> _Passed:
    if not record.exists():
        return _NOTHING
    kept = json.loads(record.read_text())
    checks = tuple(CheckResult(**(check | {"places": tuple(check["places"])})) for check in kept["checks"])
    return _Passed(frozenset(kept["files"]), checks, tuple(kept["runs"]))


def _write_record(record: Path, passed: _Passed) -> None:
    """Write the record atomically, and delete the records of earlier versions of the suite."""
    record.parent.mkdir(parents=True, exist_ok=True)
    checks = [asdict(check) for check in passed.checks]
    replace_text(record, json.dumps({"files": sorted(passed.files), "checks": checks, "runs": passed.runs}))
    for other in record.parent.glob("*.json"):
        if other != record:
            other.unlink()
