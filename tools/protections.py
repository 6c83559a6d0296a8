"""`make protections`: remove each protection, one at a time, and check that a test then fails. See docs/promises.md.

A test that passes with and without the code that it tests proves nothing. So this file lists the lines of code that
keep each promise. For each of them, it has a replacement that breaks the promise, and the tests that must then fail.
The script copies the project, replaces the line in the copy, and runs the tests there. It reports an error if the file
does not contain the line exactly once, or if the tests still pass.

Run `make test` first, because this script does not show that the tests pass while the protections are in place.
`tests/unit/test_protections.py` checks within a second that the listed files, lines and tests exist.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "promises.md"
BEGIN, END = "<!-- written by make protections: begin -->", "<!-- written by make protections: end -->"
_TESTS_FAILED = 1  # pytest's exit code; with any other but 0 the tests could not run
_FAILURE = re.compile(r"^FAILED (\S+)(?: - (.*))?$", re.MULTILINE)


@dataclass(frozen=True)
class Protection:
    """A line of code that keeps a promise.

    Attributes:
        promise: The promise's number, such as R1.
        what: What the line does.
        file: The file with the line, as a path in the project.
        line: The text of the line. The file must contain it exactly once.
        instead: The text that replaces the line and breaks the promise.
        tests: Tests, as arguments for pytest. At least one of them must fail without the line.
        also: Further (line, replacement) pairs in the same file, for cases in which replacing one line is not enough.
    """

    promise: str
    what: str
    file: str
    line: str
    instead: str
    tests: tuple[str, ...]
    also: tuple[tuple[str, str], ...] = ()


KILL, AT_ONCE, NIGHTS = (f"tests/torture/test_{name}.py" for name in ("kill", "at_once", "nights"))
CORRUPTION, FULL, BAD_INPUT = (f"tests/torture/test_{name}.py" for name in ("corruption", "disk_full", "bad_input"))
CANARY, BLOCKING = "tests/torture/test_canary.py", "tests/orchestration/test_blocking.py"
AUDIT, ERASURE = "tests/unit/audit/test_chain.py", "tests/unit/ingestion/persons/test_erasure.py"
HOMES = "tests/integration/test_home_upgrade.py"
INGESTION, KEY_STORE = "dagster_project/ingestion", "dagster_project/keys/store.py"
INTAKE, CLASSIFY = f"{INGESTION}/intake.py", f"{INGESTION}/classify.py"
SNAPSHOT = "dagster_project/snapshots/snapshot.py"

PROTECTIONS = (
    Protection(
        "R1",
        "a file that has a receipt, and that a crash left in the landing folder, is not counted as a second delivery",
        INTAKE,
        "leftover = self.context.book.unarchived(self.source.name, file.sha256, path.name)",
        "leftover = None",
        (f"{KILL}::test_taking_in_loses_nothing_whenever_it_is_killed[20]",),
    ),
    Protection(
        "R1",
        "receipts that a crash left without a row in the audit chain get one",
        INTAKE,
        "    write_missing_audit_rows(context)\n",
        "",
        (f"{KILL}::test_taking_in_loses_nothing_whenever_it_is_killed[200]",),
    ),
    Protection(
        "R1",
        "readers are pointed at a snapshot once it is whole",
        SNAPSHOT,
        "    if not final.exists():\n        for path in",
        "    if changed and make_current:\n        _point(published, final)\n"
        "    if not final.exists():\n        for path in",
        (f"{KILL}::test_readers_see_the_old_or_the_new_whenever_publishing_is_killed[20]",),
    ),
    Protection(
        "R3",
        "content that has a receipt is a duplicate, whatever its name",
        INTAKE,
        "earlier = self.context.book.find(self.source.name, file.sha256, self.source.contract.version)",
        "earlier = None",
        (f"{AT_ONCE}::test_one_file_ten_times_is_one_delivery_and_nine_duplicates",),
    ),
    Protection(
        "R4",
        "the pointer that readers follow is renamed over the old one",
        SNAPSHOT,
        "    fresh.replace(published / CURRENT)\n",
        "    (published / CURRENT).unlink(missing_ok=True)\n    fresh.replace(published / CURRENT)\n",
        (f"{AT_ONCE}::test_four_publish_and_four_read_at_once",),
    ),
    Protection(
        "R4",
        "one night at a time in a home",
        "dagster_project/home/locks.py",
        "fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "pass",
        (f"{AT_ONCE}::test_four_nights_and_four_readers_at_once",),
    ),
    Protection(
        "R5",
        "a published table has an order of its own, not that in which rows came",
        "dagster_project/night/publish.py",
        "order by {', '.join(keys)}",
        "",
        (f"{NIGHTS}::test_shuffled_and_interrupted_backfill_ends_as_an_ordered_one",),
    ),
    Protection(
        "R6",
        "an amount has at most two decimals",
        f"{INGESTION}/parsing/row_rules.py",
        r'MONEY_PATTERN = r"^-?[0-9]{1,16}(\.[0-9]{1,2})?$"',
        r'MONEY_PATTERN = r"^-?[0-9]{1,16}(\.[0-9]+)?$"',
        (f"{BAD_INPUT}::test_row",),
    ),
    Protection(
        "R6",
        "a file with more bad rows than the policy allows is held back whole",
        CLASSIFY,
        "    if wrong <= limit * landed:\n",
        "    if True:\n",
        (f"{BAD_INPUT}::test_whole_file",),
    ),
    Protection(
        "R7",
        "a file of the lake is hashed before it is read",
        f"{INGESTION}/lake/files.py",
        "    if found != item.sha256:\n",
        '    if found == "missing":\n',
        (f"{CORRUPTION}::test_flipped_byte_is_caught_before_use[lake]",),
    ),
    Protection(
        "R7",
        "so is a published mart",
        SNAPSHOT,
        "if file_sha256(folder / n) != hashes[n]]",
        "if not (folder / n).exists()]",
        (f"{CORRUPTION}::test_flipped_byte_is_caught_before_use[mart]",),
    ),
    Protection(
        "R7",
        "so is a model, against what the promotion ledger says",
        "ml/model.py",
        "    if found != expected_sha256:\n",
        "    if not found:\n",
        (f"{CORRUPTION}::test_flipped_byte_is_caught_before_use[model]",),
    ),
    Protection(
        "R8",
        "a night that may fill the disk is not started",
        "dagster_project/home/disk_space.py",
        "    if free < need:\n",
        "    if free < 0:\n",
        (f"{FULL}::test_night_without_room_is_refused_however_it_is_started[40]",),
    ),
    Protection(
        "R8",
        "a snapshot is built beside the one that readers see",
        SNAPSHOT,
        'building = published / ".building"',
        'building = before.folder if before else published / ".building"',
        (f"{FULL}::test_publishing_leaves_the_old_until_there_is_room[4]",),
    ),
    Protection(
        "R9",
        "a critical check that fails blocks what comes after it, and ends the run",
        "dagster_project/defs/checks.py",
        "        if result.blocking_failures:\n",
        "        if False:\n",
        (f"{BLOCKING}::test_broken_expectation_stops_the_night",),
        also=(('blocking=check.severity == "critical"', "blocking=False"),),
    ),
    Protection(
        "R9",
        "nothing is published over a failed check, even by hand",
        "dagster_project/night/publish.py",
        "    if failed:\n        raise UnauditedError",
        "    if False:\n        raise UnauditedError",
        (f"{BLOCKING}::test_nothing_is_published_over_a_failed_check",),
    ),
    Protection(
        "R9",
        "a dbt test that did not pass blocks publishing",
        "dagster_project/night/publish.py",
        "    if open_tests:\n",
        "    if False:\n",
        (f"{BLOCKING}::test_nothing_is_published_over_a_dbt_test_without_a_pass",),
    ),
    Protection(
        "S1",
        "identifiers become pseudonyms at the border",
        CLASSIFY,
        'frame = frame.with_columns(pl.col(column.name).replace_strict(pairs["value"], pairs["pseudonym"]))',
        "del pairs",
        (f"{CANARY}::test_no_sink_holds_a_canary[young]",),
    ),
    Protection(
        "S1",
        "originals are encrypted",
        f"{INGESTION}/persons/originals.py",
        "out.write(cipher.encrypt(nonce, view[i * _CHUNK : (i + 1) * _CHUNK], context.encode()))",
        "out.write(view[i * _CHUNK : (i + 1) * _CHUNK])",
        (f"{CANARY}::test_no_sink_holds_a_canary[young]",),
    ),
    Protection(
        "S1",
        "the search for canaries opens Parquet files",
        f"{INGESTION}/persons/scan.py",
        "        yield from _frame_values(pl.read_parquet(path))\n",
        "        return\n",
        (f"{CANARY}::test_the_scan_finds_a_planted_canary",),
    ),
    Protection(
        "S2",
        "each row's seal is computed again",
        "dagster_project/audit/chain.py",
        "            if not hmac.compare_digest(self._seal(row, before), row.seal):\n",
        "            if not row.seal:\n",
        (f"{AUDIT}::test_every_tampering_is_found_and_its_first_row_named",),
    ),
    Protection(
        "S2",
        "the head, which is stored elsewhere, shows that the end was cut off",
        "dagster_project/audit/chain.py",
        "        elif head.number >= due:\n",
        "        elif False:\n",
        (f"{AUDIT}::test_every_tampering_is_found_and_its_first_row_named[cut]",),
    ),
    Protection(
        "R10",
        "a home that newer code has written is refused",
        "dagster_project/home/version.py",
        "if version is not None and version > HOME_VERSION:",
        "if False:",
        (f"{HOMES}::test_newer_home_is_refused_by_all_and_left_alone",),
    ),
    Protection(
        "R10",
        "an upgrade that was killed goes on with the backup that it made before any change",
        "dagster_project/home/version.py",
        '    _write(home, {"home_version": version, "upgrading_to": HOME_VERSION, "backup": str(backup)})\n',
        "",
        (f"{HOMES}::test_upgrade_that_was_killed_is_done_again_with_its_backup",),
    ),
    Protection(
        "S5",
        "an erasure destroys the keys of the originals that mention the person",
        KEY_STORE,
        "for sha256, new in deliveries.items():",
        "for sha256, new in ():",
        (f"{ERASURE}::test_a_backup_of_the_data_folder_brings_nothing_back",),
    ),
    Protection(
        "S5",
        "a destroyed key is also overwritten in the file of the key store",
        KEY_STORE,
        "pragma secure_delete = on",
        "pragma secure_delete = off",
        (f"{ERASURE}::test_a_destroyed_key_is_not_left_in_the_bytes_of_the_store",),
    ),
    Protection(
        "identity",
        "landed = accepted + quarantined + duplicate, in the receipt's own transaction",
        f"{INGESTION}/lake/receipts.py",
        "check (landed_rows = accepted_rows + quarantined_rows + duplicate_rows)",
        "check (landed_rows is not null)",
        ("tests/unit/ingestion/lake/test_receipts.py::test_receipt_that_does_not_add_up_is_refused",),
    ),
)


@dataclass(frozen=True)
class Result:
    """The result of running a protection's tests without the protection.

    `failed` and `error` are the name and the message of the first test that failed. Both are empty if no test failed.
    """

    protection: Protection
    failed: str = ""
    error: str = ""


def broken(protection: Protection) -> str:
    """Return the text of a protection's file, with the protecting lines replaced.

    Raises:
        LookupError: If the file does not contain each of the lines exactly once.
    """
    text = (ROOT / protection.file).read_text()
    for old, new in ((protection.line, protection.instead), *protection.also):
        if text.count(old) != 1:
            raise LookupError(f"{protection.file}: {text.count(old)} times there instead of once: {old!r}")
        text = text.replace(old, new)
    return text


def run_without(protection: Protection, work: Path) -> Result:
    """Run a protection's tests in a copy of the project in which the protecting lines are replaced.

    Raises:
        LookupError: If the file does not contain each of the lines exactly once.
        RuntimeError: If the tests could not run, or if Python would import the unchanged file.
    """
    tree = work / "tree"
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".*", "__pycache__", "target", "results"))
    (tree / protection.file).write_text(broken(protection))
    line = [sys.executable, "-m", "pytest", "-n", "0", "-x", "-m", "long or not long", "-p", "no:cacheprovider"]
    environment = os.environ | {"PYTHONPATH": str(tree), "TMPDIR": str(work), "COLUMNS": "300"}
    _check_import(protection.file, tree, environment)
    done = subprocess.run(
        [*line, "--basetemp", str(work / "tests"), *protection.tests],
        cwd=tree,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, _TESTS_FAILED):
        raise RuntimeError(f"{' '.join(protection.tests)}: pytest ended with {done.returncode}:\n{done.stdout}")
    failure = _FAILURE.search(done.stdout)
    if done.returncode and not failure:
        raise RuntimeError(f"{' '.join(protection.tests)}: no test failed, and pytest did:\n{done.stdout}")
    return Result(protection, failure[1], failure[2] or "") if failure else Result(protection)


def _check_import(file: str, tree: Path, environment: Mapping[str, str]) -> None:
    """Check that Python imports the changed file from the copy of the project.

    With an editable install, Python could import the file of the original project instead.

    Raises:
        RuntimeError: If Python would import another file.
    """
    module = file.removesuffix(".py").replace("/", ".")
    line = [sys.executable, "-c", f"import importlib.util; print(importlib.util.find_spec({module!r}).origin)"]
    # Not run in the tree: Python would look there first, but the console script `creditloom` does not.
    done = subprocess.run(line, cwd=tree.parent, env=environment, capture_output=True, text=True, check=True)
    found = Path(done.stdout.strip())
    if not found.samefile(tree / file):
        raise RuntimeError(f"Python imports {found}, and the changed file is {tree / file}")


def section(results: list[Result]) -> str:
    """Return the results as a Markdown table with one row per protection."""
    lines = ["| promise | what keeps it | the line that was changed | the test that then fails |", "|---|---|---|---|"]
    for one in results:
        taken, (file, _, test) = one.protection, one.failed.partition("::")
        changed = [old.strip().partition("\n")[0] for old in (taken.line, *(old for old, _ in taken.also))]
        lines_changed = " and ".join(f"`{line}`" for line in changed).replace("|", "\\|")
        where = f"`{taken.file.removeprefix('dagster_project/')}`: {lines_changed}"
        lines.append(f"| {taken.promise} | {taken.what} | {where} | `{Path(file).name}`: `{test}` |")
    return "\n".join(lines)


def main() -> int:
    """Check all protections, or only those of the promises given as arguments.

    The table in docs/promises.md is rewritten only if all protections were checked, and a test failed without each of
    them. Return 1 if there is a protection without which no test failed, and 0 otherwise.
    """
    parser = argparse.ArgumentParser(description="Removes each protection, one at a time; its test must then fail.")
    parser.add_argument("promises", nargs="*", help="R1, S5, ...: only these; the page is then not written")
    chosen = parser.parse_args().promises
    results = []
    for protection in (p for p in PROTECTIONS if not chosen or p.promise in chosen):
        with tempfile.TemporaryDirectory(prefix="creditloom-without-") as work:
            one = run_without(protection, Path(work))
        results.append(one)
        verdict = f"fails: {one.failed}  {one.error[:100]}" if one.failed else "NOTHING FAILED"
        sys.stdout.write(f"{protection.promise:<9}{protection.what}\n         {verdict}\n")
        sys.stdout.flush()
    if not all(one.failed for one in results):
        return 1
    if not chosen:
        before, _, rest = PAGE.read_text().partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n\n{section(results)}\n\n{END}{rest.partition(END)[2]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
