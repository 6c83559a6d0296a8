"""The book's months and days, and one random generator for each part of it."""

import datetime as dt
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

# A part's place in this list is in its seed: append, never reorder.
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
    """The generator of one part and month. Parts are independent: one can be changed, or made alone."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_PARTS.index(part), month)))


@dataclass(frozen=True)
class Calendar:
    """Months counted from the book's first; days counted as Polars counts dates, from 1970-01-01."""

    first: dt.date
    months: int

    @cached_property
    def starts(self) -> Ints:
        """First day of each month: those of the book, and the 20 years after it, in which schedules run on."""
        first = np.datetime64(self.first, "M")
        return np.asarray(first + np.arange(self.months + 241)).astype("datetime64[D]").astype(np.int64)

    def days_in(self, month: int) -> int:
        """How many days a month has."""
        return int(self.starts[month + 1] - self.starts[month])

    def end(self, month: int) -> int:
        """Last day of a month."""
        return int(self.starts[month + 1] - 1)


def as_date(day: int) -> dt.date:
    """A counted day as a date."""
    return dt.date(1970, 1, 1) + dt.timedelta(days=int(day))
