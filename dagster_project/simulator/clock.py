"""The months and days of the book, and one random generator for each part and month."""

import datetime as dt
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

# The seed of a part includes its position in this list: append new parts, and never reorder. The random streams of
# `risk_shifts` and `leakage_traps` still have their old names, "tilts" and "leaks".
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
    """Return the random generator of one part and month.

    The parts are independent: a change of one part changes no other part.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_PARTS.index(part), month)))


@dataclass(frozen=True)
class Calendar:
    """The calendar of a book. Months are counted from the book's first month, days from 1970-01-01, as in Polars."""

    first: dt.date
    months: int

    @cached_property
    def starts(self) -> Ints:
        """The first days of the book's months, and of the months in the 20 years after it, for schedules."""
        first = np.datetime64(self.first, "M")
        return np.asarray(first + np.arange(self.months + 241)).astype("datetime64[D]").astype(np.int64)

    def days_in(self, month: int) -> int:
        """The number of days in a month."""
        return int(self.starts[month + 1] - self.starts[month])

    def end(self, month: int) -> int:
        """The last day of a month."""
        return int(self.starts[month + 1] - 1)


def as_date(day: int) -> dt.date:
    """Return the date of a day that is counted from 1970-01-01."""
    return dt.date(1970, 1, 1) + dt.timedelta(days=int(day))
