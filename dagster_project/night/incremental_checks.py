"""Checks of raw tables that read each lake file only once. This module does not use Dagster.

Files are only ever added to a raw table, and their hashes are verified at the start of each night. A night therefore
checks only the new files, and adds the counts from the earlier files. To find a key that occurs in two files, an index
stores the hashes of all keys.

The whole table is checked in these cases:

- A key in the new files may already be in the index, or may occur twice in the new files.
- The suite has changed.
- A file was removed or replaced.
- The night is rebuilt as of an earlier time.
- The suite does not have exactly one uniqueness check, or has another check that compares rows with each other.
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
    """The stored result of earlier nights, in which all files of a raw table passed the critical checks.

    Attributes:
        files: the sha256 of each file that was checked.
        checks: the results of the checks, added up over all these files.
        runs: the names of the files that make up the key index.
    """

    files: frozenset[str]
    checks: tuple[CheckResult, ...]
    runs: tuple[str, ...]


_NOTHING = _Passed(frozenset(), (), ())


def evaluate_raw(pipeline: Pipeline, guard: Guard, selection: Path, evaluate: Evaluate) -> tuple[SuiteResult, int]:
    """Evaluate the suite of a raw table on its new files, and add the counts of the earlier files.

    In the cases that the module's docstring lists, the suite is evaluated on the whole table instead.

    Args:
        pipeline: the night's pipeline.
        guard: the guard of the raw table.
        selection: the glob pattern of all files of the table that the night reads.
        evaluate: a function that evaluates a suite on the given Parquet files.

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
    """Yield the files in their order, in groups of at most `_ROWS_AT_ONCE` rows.

    `rows` contains the number of rows by file. A file with more rows than that gets a group to itself. If there are no
    files, one empty group is yielded.
    """
    part, held = list[str](), 0
    for file in files:
        if part and held + rows[file] > _ROWS_AT_ONCE:
            yield part
            part, held = [], 0
        part.append(file)
        held += rows[file]
    yield part


def _add_earlier(result: SuiteResult, before: _Passed) -> SuiteResult:
    """Add the results of the earlier files to the result for the new files.

    Returns `result` unchanged if no file was checked before.
    """
    return _combine(result, replace(result, checks=before.checks)) if before.files else result


def _combine(result: SuiteResult, other: SuiteResult) -> SuiteResult:
    """Combine the results of one suite for two parts of a table into the result for both parts together."""
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
    """Return a fingerprint that changes if a check of the suite or the hash function of the key index changes."""
    checks = [asdict(check) for check in suite.checks]
    return values_fingerprint({"checks": checks, "hashing": HASHING})[:16]


def _read_record(record: Path) -> _Passed:
    if not record.exists():
        return _NOTHING
    kept = json.loads(record.read_text())
    checks = tuple(CheckResult(**(check | {"places": tuple(check["places"])})) for check in kept["checks"])
    return _Passed(frozenset(kept["files"]), checks, tuple(kept["runs"]))


def _write_record(record: Path, passed: _Passed) -> None:
    """Write the record atomically, and delete the records that belong to other versions of the suite."""
    record.parent.mkdir(parents=True, exist_ok=True)
    checks = [asdict(check) for check in passed.checks]
    replace_text(record, json.dumps({"files": sorted(passed.files), "checks": checks, "runs": passed.runs}))
    for other in record.parent.glob("*.json"):
        if other != record:
            other.unlink()
