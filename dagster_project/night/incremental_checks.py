"""Checks of raw tables, once a file: what a lake file held when it was checked it holds for ever. No Dagster.

A raw table only grows, and its files never change (their hashes are checked before each night). So a night checks the
files that are new, and adds what was counted in those before. Of the keys, which must be unique in all files together,
an index of hashes is kept: only if it knows a new key is the whole table read again. A suite that was changed, a file
that is gone or another one, and a night that is rebuilt as of an earlier instant have the whole table checked.
"""

import json
from collections.abc import Callable, Iterator
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
# New files are checked so many rows at a time: to look for repeated keys takes some 200 bytes a row.
_ROWS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class _Passed:
    """What was checked before and stopped nothing: which files (their hashes), the results, and the keys' index."""

    files: frozenset[str]
    checks: tuple[CheckResult, ...]
    runs: tuple[str, ...]


_NOTHING = _Passed(frozenset(), (), ())


def evaluate_raw(pipeline: Pipeline, guard: Guard, selection: Path, evaluate: Evaluate) -> tuple[SuiteResult, int]:
    """A raw table's suite on its new files, with the counts of all; returns the result and how many files were read.

    `selection` names the files that the night reads; `evaluate` runs a suite over Parquet files. A suite with checks
    that look at several rows at a time, as a user may add them, is evaluated on the whole table.
    """
    suite = guard.suite
    found = [f for r in pipeline.receipts(guard.source) for f in r.files if f.table == suite.table]
    paths = {f.sha256: pipeline.ingest_context.lake / f.path for f in found}
    rows = {f.sha256: f.rows for f in found}
    keys = [check.key for check in suite.checks if check.key]
    by_file = len(keys) == 1 and all(check.is_by_row or check.key for check in suite.checks)
    if pipeline.known_as_of or not paths or not by_file:
        return evaluate(suite, [selection]), len(paths)
    folder = pipeline.settings.lake / "checked" / str(guard.source) / suite.table
    memory = folder / f"{_fingerprint(suite)}.json"
    before = _recall(memory)
    if not before.files <= paths.keys():
        before = _NOTHING
    unseen = [sha256 for sha256 in paths if sha256 not in before.files]
    new = [paths[sha256] for sha256 in unseen]
    if not new and before.files:
        return SuiteResult(suite.name, len(suite.checks), before.checks), 0
    # A key that is unique in each delivery is asked for no further than the delivery's own file.
    over_files = [] if "delivery_id" in keys[0] else [column for column in keys[0] if column != "source"]
    index, hashes = KeyIndex(folder, before.runs), key_hashes(new, over_files) if over_files else None
    # One that is repeated among the new files may be so in two parts, each of which has it once.
    if hashes is not None and (index.contains_any(hashes) or (hashes[1:] == hashes[:-1]).any()):
        return evaluate(suite, [selection]), len(paths)
    parts = [evaluate(suite, [paths[sha256] for sha256 in part]) for part in _parts(unseen, rows)]
    result = _added(reduce(_together, parts), before)
    if new and not result.blocking_failures:
        if hashes is not None:
            index = index.add(hashes, values_fingerprint({"files": sorted(paths)})[:16])
        _remember(memory, _Passed(frozenset(paths), result.checks, index.runs))
        index.sweep()
    return result, len(new)


def _parts(files: list[str], rows: dict[str, int]) -> Iterator[list[str]]:
    """The files in their order, in parts of about so many rows as are checked at once; one part at least."""
    part, held = list[str](), 0
    for file in files:
        if part and held + rows[file] > _ROWS_AT_ONCE:
            yield part
            part, held = [], 0
        part.append(file)
        held += rows[file]
    yield part


def _added(result: SuiteResult, before: _Passed) -> SuiteResult:
    """The result over the new files and those before them."""
    return _together(result, replace(result, checks=before.checks)) if before.files else result


def _together(result: SuiteResult, other: SuiteResult) -> SuiteResult:
    """The result of a suite over two parts of a table."""
    others = {check.name: check for check in other.checks}
    return replace(result, checks=tuple(_sum(check, others[check.name]) for check in result.checks))


def _sum(new: CheckResult, before: CheckResult) -> CheckResult:
    failing = _both(new.failing_rows, before.failing_rows)
    return replace(
        new,
        # Only a warning can have failed before; a table that had rows has some.
        passed=not failing if failing is not None else before.passed or new.passed,
        rows=_both(new.rows, before.rows),
        failing_rows=failing,
        places=(*new.places, *before.places)[:_SHOWN],
    )


def _both(one: int | None, other: int | None) -> int | None:
    return None if one is None and other is None else (one or 0) + (other or 0)


def _fingerprint(suite: Suite) -> str:
    """Of the suite, and of the library whose hashes the index holds."""
    checks = [asdict(check) for check in suite.checks]
    return values_fingerprint({"checks": checks, "hashing": HASHING})[:16]


def _recall(memory: Path) -> _Passed:
    if not memory.exists():
        return _NOTHING
    kept = json.loads(memory.read_text())
    checks = tuple(CheckResult(**(check | {"places": tuple(check["places"])})) for check in kept["checks"])
    return _Passed(frozenset(kept["files"]), checks, tuple(kept["runs"]))


def _remember(memory: Path, passed: _Passed) -> None:
    """Write it down in one rename, and forget what other suites had passed."""
    memory.parent.mkdir(parents=True, exist_ok=True)
    checks = [asdict(check) for check in passed.checks]
    replace_text(memory, json.dumps({"files": sorted(passed.files), "checks": checks, "runs": passed.runs}))
    for other in memory.parent.glob("*.json"):
        if other != memory:
            other.unlink()
