"""The calendar of a simulated book, and the random generators of the simulation."""

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
    """Return the random generator of one part of the simulation in one month.

    Every combination of part and month has its own independent random stream. Drawing more or fewer numbers from one
    stream changes no numbers of the other streams. A part that is not simulated month by month uses `month` only to
    choose one of its streams.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_PARTS.index(part), month)))


@dataclass(frozen=True)
class Calendar:
    """The calendar of a simulated book.

    It counts months from 0, the book's first month, and days from 1970-01-01, as Polars does. `first` is a date in the
    first month, and `months` is the number of months in the book.
    """

    first: dt.date
    months: int

    @cached_property
    def starts(self) -> Ints:
        """Return the first day of each month, from the book's first month to about 20 years after its last month.

        Schedules need the months after the end of the book.
        """
        first = np.datetime64(self.first, "M")
        return np.asarray(first + np.arange(self.months + 241)).astype("datetime64[D]").astype(np.int64)

    def days_in(self, month: int) -> int:
        """Return the number of days in a month."""
        return int(self.starts[month + 1] - self.starts[month])

    def end(self, month: int) -> int:
        """Return the last day of a month, counted from 1970-01-01."""
        return int(self.starts[month + 1] - 1)


def as_date(day: int) -> dt.date:
    """Convert a day that is counted from 1970-01-01 to a date."""
    return dt.date(1970, 1, 1) + dt.timedelta(days=int(day))
