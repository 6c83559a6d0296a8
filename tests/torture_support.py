"""What the torture suite shares: a book with dirt and its plain-Python reference, and processes that are killed.

The reference is made while the files are written, by other means than the code that reads them: lists, integers of
cents, and nothing of Polars, DuckDB or the project.
"""

import gzip
import io
import json
import os
import random
import shutil
import subprocess
import sys
import zipfile
from calendar import monthrange
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import pytest
from lender_support import book_file, empty_lender

from dagster_project.ingestion.lake.files import select
from dagster_project.ingestion.lake.receipts import State
from dagster_project.night.pipeline import Pipeline

SEED = int(os.environ.get("SEED", "1"))
SOURCE = "young_lender"
LOANS = [f"L{n:03}" for n in range(150)]
HEADER = "loan,end,open,paid\n"
OUTCOMES = ("landed", "accepted", "quarantined", "duplicate")

# A statement as the reference keeps it: loan, month-end, balance and payment in cents.
Statement = tuple[str, str, int, int]


@dataclass
class Reference:
    """What must be in the lake: statements, and lines and cents by outcome."""

    statements: Counter = field(default_factory=Counter)
    rows: Counter = field(default_factory=Counter)
    cents: Counter = field(default_factory=Counter)

    def count(self, outcome: str, cents: int, rows: int = 1) -> None:
        for what in ("landed", outcome):
            self.rows[what] += rows
            self.cents[what] += cents

    def add(self, other: "Reference") -> None:
        for mine, others in ((self.statements, other.statements), (self.rows, other.rows), (self.cents, other.cents)):
            mine.update(others)


@dataclass
class Delivery:
    """A file, and what must become of it."""

    name: str
    text: str
    becomes: Reference


def month_end(month: int) -> str:
    """Month-ends from January 2024 on."""
    year, number = 2024 + month // 12, month % 12 + 1
    return f"{year}-{number:02}-{monthrange(year, number)[1]}"


def book_of_loans() -> Delivery:
    """The loans; they carry no control amount."""
    becomes = Reference()
    becomes.count("accepted", 0, len(LOANS))
    return Delivery("book-2024-01-02.csv", book_file(LOANS), becomes)


def month_file(month: int, draw: random.Random, kind: str | None = None) -> Delivery:
    """A month: clean, with a bad line, with lines twice, or with so many bad ones that all of it is held back."""
    kind = kind or draw.choice(("clean", "clean", "bad", "twice", "held back"))
    becomes, lines = Reference(), []
    wrong = set(draw.sample(LOANS, {"bad": 1, "held back": 9}.get(kind, 0)))
    again = set(draw.sample(LOANS, 3 if kind == "twice" else 0))
    for loan in LOANS:
        opens, paid = draw.randrange(1, 10**7), draw.randrange(0, 10**5)
        statement = (loan, month_end(month), opens, paid)
        line = f"{loan},{statement[1]},{_money(opens)},{_money(paid)}\n"
        if loan in wrong:  # the balance is no amount; what was paid is, and counts
            line = f"{loan},{statement[1]},{draw.choice(('1e3', '1.505', '12,5', ''))},{_money(paid)}\n"
            line = line.replace("12,5", '"12,5"')
        lines.append(line)
        if loan in wrong or kind == "held back":
            becomes.count("quarantined", paid)
        else:
            becomes.count("accepted", paid)
            becomes.statements[statement] += 1
        if loan in again:
            lines.append(line)
            becomes.count("duplicate", paid)
    return Delivery(f"{month_end(month)[:7]}.csv", HEADER + "".join(lines), becomes)


def copy_of(delivery: Delivery, name: str) -> Delivery:
    """The same content under another name: all of it is duplicate."""
    becomes = Reference()
    becomes.count("duplicate", delivery.becomes.cents["landed"], delivery.becomes.rows["landed"])
    return Delivery(name, delivery.text, becomes)


def _money(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02}"


def empty_home(home: Path) -> Path:
    empty_lender(home)
    return home


def _packed(delivery: Delivery) -> bytes:
    """A delivery's bytes, packed if its name says so."""
    content = delivery.text.encode()
    if delivery.name.endswith(".gz"):
        return gzip.compress(content)
    if not delivery.name.endswith(".zip"):
        return content
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inside.csv", content)
    return packed.getvalue()


def drop(home: Path, delivery: Delivery) -> None:
    folder = home / "landing" / SOURCE
    arriving = folder / f".{delivery.name}.arriving"
    arriving.write_bytes(_packed(delivery))
    arriving.rename(folder / delivery.name)


def lake_of(pipeline: Pipeline, selection: Path) -> Reference:
    """What is in the lake, as a night would read it; each file's hash is verified on the way."""
    found, receipts = Reference(), pipeline.ingest_context.book.all()
    rows = select(pipeline.ingest_context.lake, selection, SOURCE, receipts)
    for receipt in receipts:
        for outcome in OUTCOMES:
            found.rows[outcome] += getattr(receipt, f"{outcome}_rows")
            found.cents[outcome] += getattr(receipt, f"{outcome}_minor")
        assert receipt.state is not State.QUARANTINED or not [f for f in receipt.files if f.table == "statements"]
    frame = pl.read_parquet(selection / SOURCE / "statements" / "*.parquet")
    assert frame.height == rows["statements"]
    told = frame.select("loan_id", pl.col("month_on").cast(pl.String), "balance", "paid")
    for loan, month, opens, paid in told.iter_rows():
        found.statements[(loan, month, int(opens * 100), int(paid * 100))] += 1
    return found


def assert_lake_is(pipeline: Pipeline, selection: Path, expected: Reference, why: object) -> None:
    """Identity exact, not a row more or less, not a cent off."""
    found = lake_of(pipeline, selection)
    assert +found.rows == +expected.rows, why
    assert +found.cents == +expected.cents, why
    assert found.statements == expected.statements, why
    for unit in (found.rows, found.cents):
        assert unit["landed"] == unit["accepted"] + unit["quarantined"] + unit["duplicate"], why


@contextmanager
def mounted(place: Path, megabytes: int) -> Iterator[Path]:
    """A small file system in memory; where none may be mounted, the test is skipped in so many words."""
    place.mkdir()
    line = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(place)]
    try:
        done = subprocess.run(line, capture_output=True, text=True)
    except FileNotFoundError as error:
        pytest.skip(f"no small file system can be mounted here: {error}")
    if done.returncode:
        pytest.skip(f"no small file system may be mounted here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


class Filler:
    """Takes all room of a disk but so many bytes."""

    def __init__(self, disk: Path) -> None:
        self._file = disk / "filler"

    def leave(self, room: int) -> None:
        self.remove()
        free = shutil.disk_usage(self._file.parent).free
        with self._file.open("wb") as handle:
            block = b"\0" * (1 << 16)
            for _ in range(max(free - room, 0) // len(block)):
                handle.write(block)
            handle.write(block[: max(free - room, 0) % len(block)])

    def remove(self) -> None:
        self._file.unlink(missing_ok=True)


class Victims:
    """Processes that do one thing in a home, in groups of their own, some of which are killed on the way.

    One process imports everything once and forks for each of them; see `torture_child.py`.
    """

    def __init__(self) -> None:
        child = Path(__file__).with_name("torture_child.py")
        self._process = subprocess.Popen(
            [sys.executable, str(child)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> "Victims":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait(60)

    def run(self, what: str, home: Path, **more: object) -> dict:
        """Do one thing; returns `killed`, `lines` (executed in the modules that are watched) and `error`.

        `kill_at`: the number of the line before which the group is killed; `kill_after`: or seconds after which.
        """
        return self.run_all([{"what": what, "home": str(home), **more}])[0]

    def run_all(self, jobs: list[dict]) -> list[dict]:
        """Several at once."""
        self._process.stdin.write(json.dumps(jobs) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())
