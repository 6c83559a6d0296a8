"""A random book with faulty lines, and the content that the lake must have after it is ingested.

This content must be the same no matter which processes are killed while they ingest. The reference is built while the
files are written, by means other than those of the project: lists and integers of cents, without Polars or DuckDB.
"""

import random
from calendar import monthrange
from collections import Counter
from dataclasses import dataclass, field

from support.young_lender import book_file

LOANS = [f"L{n:03}" for n in range(150)]
HEADER = "loan,end,open,paid\n"

# A statement as the reference keeps it: loan, month-end, balance and payment in cents.
Statement = tuple[str, str, int, int]


@dataclass
class Reference:
    """The expected content of the lake.

    It consists of the accepted statements, and the number of lines and cents by outcome.
    """

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
    """A file to deliver, and the outcome that is expected for its lines."""

    name: str
    text: str
    becomes: Reference


def month_end(month: int) -> str:
    """Return a month-end as text: January 2024 for 0, February 2024 for 1, and so on."""
    year, number = 2024 + month // 12, month % 12 + 1
    return f"{year}-{number:02}-{monthrange(year, number)[1]}"


def book_of_loans() -> Delivery:
    """Return the delivery of all loans. It has no control amount, so its cents are 0."""
    becomes = Reference()
    becomes.count("accepted", 0, len(LOANS))
    return Delivery("book-2024-01-02.csv", book_file(LOANS), becomes)


def month_file(month: int, draw: random.Random, kind: str | None = None) -> Delivery:
    """Return the delivery of one month, with its expected outcome.

    The file may be clean, have one bad line, have three lines twice, or have so many bad lines that all of it is
    quarantined. `kind` chooses one of these; if it is None, `draw` chooses.
    """
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
    """Return a delivery with the same content and another name. All of its lines are expected to be duplicates."""
    becomes = Reference()
    becomes.count("duplicate", delivery.becomes.cents["landed"], delivery.becomes.rows["landed"])
    return Delivery(name, delivery.text, becomes)


def _money(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02}"
