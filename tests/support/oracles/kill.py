"""A book with dirt, and what must be in the lake after it is taken in, whoever was killed on the way.

The reference is made while the files are written, by other means than the code that reads them: lists, integers of
cents, and nothing of Polars, DuckDB or the project.
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
