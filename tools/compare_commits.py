"""Compare the published results of two commits, value for value, after the same night on the same data.

    python tools/compare_commits.py BEFORE [AFTER]

Each commit is checked out into its own folder. Its code simulates a book with faulty rows, ingests this book, the cards
and the car loans, and runs a night. The script then compares all tables and metrics that the two commits published. It
ignores the order of columns, and metrics about the run itself (`run.*` and `checks.*`). Renames and intended
differences are listed in `renamed.toml`.

The exit code is 0 if both commits published the same, and 1 if they did not. It is 2 if the arguments are wrong, or if
the commits cannot be compared, for example because a night failed.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import polars as pl

ROOT = Path(__file__).resolve().parent.parent
RENAMED = Path(__file__).with_name("renamed.toml")
CARS = ROOT.parent / "shared" / "data" / "ally_2017_3"
METRICS, ROWS = "metrics", "(rows)"
NOT_COMPARED = ("run.", "checks.")
SHOWN = 5
NIGHT, AGAIN = "night", "again"  # the stages of a run; each stage's snapshot is in a folder with its name
LOAN = ("source", "loan_id")


class NotComparableError(RuntimeError):
    """Raised if two results cannot be compared, for example because a commit is unknown or its night failed."""


@dataclass(frozen=True)
class Repair:
    """An intended difference between two commits, and the reason for it.

    `table` and `column` are patterns, such as `fct_*`, for the names in the newer commit.
    """

    table: str
    column: str
    why: str

    def covers(self, table: str, column: str) -> bool:
        """Return whether this repair explains a difference in the given column."""
        return fnmatchcase(table, self.table) and fnmatchcase(column, self.column)


@dataclass(frozen=True)
class Renamed:
    """The renames and the intended differences between two commits.

    Each mapping has old names as keys and new names as values. A rename applies only if the newer commit has the new
    name and lacks the old one. So one file can list many renames and be used for any two commits.

    Attributes:
        tables: The renamed tables.
        columns: The renamed columns of each table. The key is the table's old name, or `*` for all tables.
        metrics: The renamed metrics. A name can contain one `*` for any text.
        repairs: The intended differences.
    """

    tables: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    metrics: Mapping[str, str] = field(default_factory=dict)
    repairs: Sequence[Repair] = ()

    def table(self, name: str, newer: Collection[str]) -> str:
        """Return the newer name of a table, which is the same name if the table was not renamed.

        `newer` has the names of all tables of the newer commit.
        """
        return _known_as(name, self.tables.get(name, name), newer)

    def table_columns(self, table: str, columns: Sequence[str], newer: Collection[str]) -> dict[str, str]:
        """Return the newer name of each column in `columns`.

        `table` is the table's old name. `newer` has the names of its columns in the newer commit. Columns that were not
        renamed keep their name.
        """
        names = {**self.columns.get("*", {}), **self.columns.get(table, {})}
        return {old: _known_as(old, names.get(old, old), newer) for old in columns}

    def metric(self, name: str, newer: Collection[str]) -> str:
        """Return the newer name of a metric, which is the same name if the metric was not renamed.

        `newer` has the names of all metrics of the newer commit.
        """
        for old, new in self.metrics.items():
            found = re.fullmatch(re.escape(old).replace(r"\*", "(.*)"), name)
            if found:
                return _known_as(name, new.replace("*", found[1]) if found.groups() else new, newer)
        return name

    def repair(self, table: str, column: str) -> Repair | None:
        """Return the first repair that explains a difference in this column, or None if there is none."""
        return next((repair for repair in self.repairs if repair.covers(table, column)), None)


def _known_as(old: str, new: str, newer: Collection[str]) -> str:
    return new if new in newer and old not in newer else old


@dataclass(frozen=True)
class Difference:
    """One difference between what the two commits published.

    Attributes:
        table: The newer name of the table, or METRICS.
        column: The newer name of the column or metric, or ROWS for a whole table or its rows.
        what: A description of the difference.
        rows: The number of rows that differ. It is 0 for a metric, and for a table or column that only one side has.
        which: The loans of the rows that differ, or the keys of these rows if the table has no loans.
    """

    table: str
    column: str
    what: str
    rows: int = 0
    which: tuple[str, ...] = ()


# --- comparing --------------------------------------------------------------------------------------------------------


def load_renamed(path: Path = RENAMED, *, earlier: bool = False) -> Renamed:
    """Read the renames and the repairs from a file.

    Args:
        path: The file.
        earlier: Whether to include the repairs of earlier issues. They are needed to compare with a result that is
            older than the last issue.

    Raises:
        NotComparableError: If the file cannot be read.
    """
    try:
        found = tomllib.loads(path.read_text())
        listed = [*found.get("repairs", []), *(found.get("earlier_repairs", []) if earlier else [])]
        repairs = [Repair(**item) for item in listed]
    except (OSError, ValueError, TypeError) as error:
        raise NotComparableError(f"{path}: {error}") from None
    return Renamed(found.get("tables", {}), found.get("columns", {}), found.get("metrics", {}), repairs)


def compare_snapshots(before: Path, after: Path, renamed: Renamed) -> list[Difference]:
    """Return all differences between the tables and metrics of two published snapshots.

    `before` and `after` are the folders of the snapshots.
    """
    new = {path.stem: path for path in after.glob("*.parquet")}
    old = {renamed.table(path.stem, new): path for path in before.glob("*.parquet")}
    found = [Difference(name, ROWS, "table is only in BEFORE") for name in sorted(old.keys() - new.keys())]
    found += [Difference(name, ROWS, "table is only in AFTER") for name in sorted(new.keys() - old.keys())]
    for name in sorted(old.keys() & new.keys()):
        one, other = pl.read_parquet(old[name]), pl.read_parquet(new[name])
        one = one.rename(renamed.table_columns(old[name].stem, one.columns, other.columns))
        found += compare_tables(name, one, other)
    metrics_before, metrics_after = (json.loads((folder / "metrics.json").read_text()) for folder in (before, after))
    return found + compare_metrics(metrics_before, metrics_after, renamed)


def compare_tables(table: str, before: pl.DataFrame, after: pl.DataFrame) -> list[Difference]:
    """Return the differences between the two versions of one table.

    Renamed columns must have their newer names in both frames. Rows are compared in the order in which they are stored.
    If the frames do not have the same rows in the same order, rows are matched by a key: the shortest sequence of
    leading columns that is unique in both frames. All rows that only one of the frames contains are reported as one
    difference.
    """
    found = [Difference(table, c, "column is only in BEFORE") for c in before.columns if c not in after.columns]
    found += [Difference(table, c, "column is only in AFTER") for c in after.columns if c not in before.columns]
    types = {c: (before.schema[c], dtype) for c, dtype in after.schema.items() if c in before.columns}
    found += [Difference(table, c, f"type {a} -> {b}", after.height) for c, (a, b) in types.items() if a != b]
    same = [c for c, (a, b) in types.items() if a == b]
    before, after = before.select(same), after.select(same)
    if not same:
        return found
    keys = _keys(before, after)
    if not before.select(keys).equals(after.select(keys)):
        moved, before, after = _matched(table, before, after, keys)
        found += moved
    for column in same:
        differs = before[column].ne_missing(after[column])
        if differs.any():
            rows = after.filter(differs)
            values = f"{before.filter(differs)[column][0]!r} -> {rows[column][0]!r}"
            found.append(Difference(table, column, values, rows.height, _which(rows, keys)))
    return found


def _matched(
    table: str, before: pl.DataFrame, after: pl.DataFrame, keys: Sequence[str]
) -> tuple[list[Difference], pl.DataFrame, pl.DataFrame]:
    """Match the rows of two frames by `keys`.

    Return a list of differences, and the matched rows of each frame in the same order. The differences are rows that
    only one frame contains. If there are no such rows, the one difference is that rows are repeated or in another
    order.
    """
    found = []
    for side, rows, other in (("BEFORE", before, after), ("AFTER", after, before)):
        unmatched = rows.join(other, on=keys, how="anti", nulls_equal=True)
        if unmatched.height:
            found.append(Difference(table, ROWS, f"rows only in {side}", unmatched.height, _which(unmatched, keys)))
    if not found:
        found.append(Difference(table, ROWS, "the same rows in another order, or repeated", after.height))
    both = after.select(keys).join(before, on=keys, how="semi", nulls_equal=True).unique(maintain_order=True)
    before, after = (
        both.join(rows.unique(keys, keep="first"), on=keys, how="left", nulls_equal=True, maintain_order="left")
        for rows in (before, after)
    )
    return found, before, after


def _keys(before: pl.DataFrame, after: pl.DataFrame) -> list[str]:
    """Return the shortest sequence of leading columns that is unique in both frames.

    If no such sequence is unique, return all columns.
    """
    columns = before.columns
    for count in range(1, len(columns) + 1):
        keys = columns[:count]
        if not any(frame.select(keys).is_duplicated().any() for frame in (before, after)):
            return keys
    return columns


def _which(rows: pl.DataFrame, keys: Sequence[str]) -> tuple[str, ...]:
    """Return the loans of these rows without repetitions, or the keys of the rows if the table has no loans."""
    shown = [c for c in LOAN if c in rows.columns] if LOAN[1] in rows.columns else list(keys)
    return tuple("/".join(str(value) for value in row) for row in rows.select(shown).unique(maintain_order=True).rows())


def compare_metrics(before: Mapping[str, Any], after: Mapping[str, Any], renamed: Renamed) -> list[Difference]:
    """Return the metrics that differ or that only one side has, under their newer names."""
    new = {name: value for name, value in after.items() if not name.startswith(NOT_COMPARED)}
    old = {renamed.metric(name, new): value for name, value in before.items() if not name.startswith(NOT_COMPARED)}
    absent = "(absent)"
    found = []
    for name in sorted(old.keys() | new.keys()):
        one, other = old.get(name, absent), new.get(name, absent)
        if one != other or type(one) is not type(other):
            found.append(Difference(METRICS, name, f"{one!r} -> {other!r}"))
    return found


def report(differences: Sequence[Difference], renamed: Renamed) -> tuple[list[str], bool]:
    """Return a report as lines of text, and whether all differences are intended."""
    lines, meant = [], True
    for repair, own in _by_repair(differences, renamed):
        if repair:
            loans = {which for difference in own for which in difference.which}
            lines.append(f"repaired: {repair.table}.{repair.column}: {repair.why} ({len(loans)} loans or rows moved)")
        elif own:
            meant = False
            lines.append("different:")
        lines += [f"  {_line(difference)}" for difference in own]
    return lines, meant


def _by_repair(differences: Sequence[Difference], renamed: Renamed) -> Iterator[tuple[Repair | None, list[Difference]]]:
    of = [renamed.repair(d.table, d.column) for d in differences]
    for repair in (None, *renamed.repairs):
        yield repair, [d for d, found in zip(differences, of, strict=True) if found is repair]


def _line(difference: Difference) -> str:
    rows = f"{difference.rows:,} rows" if difference.rows else ""
    more = "" if len(difference.which) <= SHOWN else f", ... ({len(difference.which):,} in all)"
    which = ", ".join(difference.which[:SHOWN]) + more
    return f"{difference.table:28} {difference.column:32} {rows:>12}  {difference.what}  {which}".rstrip()


# --- running ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """What to run for each commit.

    Attributes:
        loans: The number of loans in the simulated book.
        months: The number of months in the simulated book.
        cars: The folder of the car loan tapes. None means that the night runs without car loans.
        again: Whether to run a second night with `--force`.
    """

    loans: int
    months: int
    cars: Path | None
    again: bool

    @property
    def stages(self) -> tuple[str, ...]:
        """Return the names of the nights after which snapshots are compared."""
        return (NIGHT, AGAIN) if self.again else (NIGHT,)

    @property
    def name(self) -> str:
        """Return a name for this plan, which is part of the folder name of kept results."""
        tapes = hashlib.sha256(str(self.cars).encode()).hexdigest()[:8] if self.cars else "none"
        return f"{self.loans}-loans-{self.months}-months-cars-{tapes}"


def snapshots(revision: str, plan: Plan, work: Path) -> dict[str, Path]:
    """Return the folder of the published snapshot for each stage of the plan.

    The nights are run only if their results have not been kept from an earlier comparison. The folder of a home has
    only the stage `night`.

    Args:
        revision: A commit, or the folder of a home that has published. An empty text means the working tree, for which
            the nights are always run.
        plan: What to run.
        work: The folder for checkouts, homes and results.

    Raises:
        NotComparableError: If the commit is unknown, or if a command failed.
    """
    home = Path(revision)
    if revision and (home / "published" / "current").exists():
        return {NIGHT: home / "published" / "current"}
    commit = _git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}") if revision else "working-tree"
    results = work / "results" / f"{commit}-{plan.name}"
    if not revision:
        shutil.rmtree(results, ignore_errors=True)
    found = {stage: results / stage for stage in plan.stages}
    if not all(folder.exists() for folder in found.values()):
        _run(commit if revision else None, plan, work, results)
    return found


def _run(commit: str | None, plan: Plan, work: Path, results: Path) -> None:
    """Run the nights of a plan with the code of a commit, and copy what they publish to `results`.

    If `commit` is None, use the code of the working tree.
    """
    if plan.cars is None:
        print("  without car loans: no folder of tapes is given with --cars, and none is beside the checkout")
    place = Path(tempfile.mkdtemp(prefix="run-", dir=work))
    tree, home = place / "tree", place / "home"
    if commit:
        _git("worktree", "add", "--quiet", "--detach", str(tree), commit)
    else:
        _copy_working_tree(tree)
    try:
        for stage, commands in _commands(plan, home):
            for command in commands:
                _creditloom(tree, home, place / "log.txt", *command)
            # First copied, then renamed, so that `results` never has an incomplete copy.
            shutil.copytree(home / "published" / "current", place / stage)
            results.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(results / stage, ignore_errors=True)
            (place / stage).rename(results / stage)
    finally:
        if commit:
            _git("worktree", "remove", "--force", str(tree))
    shutil.rmtree(place)


def _commands(plan: Plan, home: Path) -> list[tuple[str, list[list[str]]]]:
    size = ["--loans", str(plan.loans), "--months", str(plan.months), "--seed", "1", "--dirt", "--out", str(home)]
    cars = [["land", "ally_auto", str(plan.cars)]] if plan.cars else []
    again = [(AGAIN, [["night", "--force"]])] if plan.again else []
    return [(NIGHT, [["simulate", *size], *cars, ["night"]]), *again]


def _creditloom(tree: Path, home: Path, log: Path, *arguments: str) -> None:
    """Run the `creditloom` command with the code in `tree`, using the Python environment of this process.

    Raises:
        NotComparableError: If the command failed.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CREDITLOOM_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    own = {"PYTHONPATH": str(tree), "CREDITLOOM_HOME": str(home), "PATH": path, "OMP_WAIT_POLICY": "PASSIVE"}
    start = [sys.executable, "-c", "from dagster_project.cli import app; app()"]
    print(f"  creditloom {' '.join(arguments)}", flush=True)
    with log.open("a") as output:
        done = subprocess.run([*start, *arguments], cwd=tree, env=kept | own, stdout=output, stderr=output, check=False)
    if done.returncode:
        last = "\n".join(log.read_text().splitlines()[-SHOWN:])
        raise NotComparableError(f"creditloom {arguments[0]} ended with {done.returncode}; see {log}:\n{last}")


def _copy_working_tree(tree: Path) -> None:
    """Copy all files that git tracks, or would add, to the folder `tree`.

    So the working tree can be edited while its night runs on the copy.
    """
    for name in _git("ls-files", "--cached", "--others", "--exclude-standard", "-z").split("\0"):
        if name and (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotComparableError(f"git {' '.join(arguments)}: {done.stderr.strip() or 'no such commit'}")
    return done.stdout.strip()


# --- the command ------------------------------------------------------------------------------------------------------


def main() -> int:
    """Compare two commits, print the report, and return the exit code."""
    parser = argparse.ArgumentParser(description="Compare what two commits publish, value for value.")
    parser.add_argument("before", help="a commit, or the folder of a home that such a night has published in")
    parser.add_argument("after", nargs="?", help="the same; default: the working tree if it has changes, else HEAD")
    parser.add_argument("--cars", type=Path, help="folder of the car loans' tapes; default: ../shared/data/ally_2017_3")
    parser.add_argument("--loans", type=int, default=5000, help="loans of the simulated book")
    parser.add_argument("--months", type=int, default=36, help="months of the simulated book")
    parser.add_argument("--again", action="store_true", help="compare a second night, too: nothing new, but --force")
    parser.add_argument("--keep", type=Path, help="folder in which the commits' results stay for later comparisons")
    parser.add_argument("--renamed", type=Path, default=RENAMED, help="the mapping of names")
    given = parser.parse_args()
    cars = given.cars or (CARS if CARS.is_dir() else None)
    if cars and not cars.is_dir():
        parser.error(f"{cars} is no folder")
    plan = Plan(given.loans, given.months, cars.resolve() if cars else None, given.again)
    work = (given.keep or Path(tempfile.mkdtemp(prefix="creditloom-compare-"))).resolve()
    work.mkdir(parents=True, exist_ok=True)
    try:
        code = _compare(given.before, given.after, plan, work, load_renamed(given.renamed))
    except NotComparableError as error:
        print(f"Not compared: {error}", file=sys.stderr)
        return 2  # the folder stays, so that one can look into it
    if not given.keep:
        shutil.rmtree(work)
    return code


def _compare(before: str, after: str | None, plan: Plan, work: Path, renamed: Renamed) -> int:
    if after is None:
        after = "" if _git("status", "--porcelain") else "HEAD"
    sides = []
    for revision in (before, after):
        print(f"{revision or 'the working tree'}:", flush=True)
        sides.append(snapshots(revision, plan, work))
    equal = True
    for stage in plan.stages:
        if not all(stage in side for side in sides):
            raise NotComparableError("a home that has run has one night; leave --again out")
        lines, meant = report(compare_snapshots(sides[0][stage], sides[1][stage], renamed), renamed)
        print("\n".join([f"{stage}: {'equal' if meant else 'NOT equal'}", *lines]))
        equal = equal and meant
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
