"""The months and days of the book, and one random generator for each part of it."""

import datetime as dt
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

# A part's place in this list is in its seed: append, never reorder. The random streams of `risk_shifts` and
# `leakage_traps` keep the names "tilts" and "leaks" that they were first seeded under.
Part = Literal[
    "macro",
    "borrowers",
    "loans",
    "behaviour",
    "restructures",
    "bookings",
    "dirt",
    "channels",
    "deferrals",
    "cards",
    "payers",
    "funding",
    "client_money",
    "cases",
    "tilts",
    "typologies",
    "leaks",
]
_PARTS: tuple[Part, ...] = get_args(Part)


def generator(seed: int, part: Part, month: int = 0) -> np.random.Generator:
    """The generator of one part and month. Parts are independent: to change one changes no other."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_PARTS.index(part), month)))


@dataclass(frozen=True)
class Calendar:
    """Months are counted from the book's first, days from 1970-01-01, as in Polars."""

    first: dt.date
    months: int

    @cached_property
    def starts(self) -> Ints:
        """First day of each month of the book, and of the 20 years after it, which schedules reach into."""
        first = np.datetime64(self.first, "M")
        return np.asarray(first + np.arange(self.months + 241)).astype("datetime64[D]").astype(np.int64)

    def days_in(self, month: int) -> int:
        """Number of days in a month."""
        return int(self.starts[month + 1] - self.starts[month])

    def end(self, month: int) -> int:
        """Last day of a month."""
        return int(self.starts[month + 1] - 1)


def as_date(day: int) -> dt.date:
    """The date of a day counted from 1970-01-01."""
    return dt.date(1970, 1, 1) + dt.timedelta(days=int(day))
