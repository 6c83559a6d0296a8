"""A segment that goes bad: the car loans' share of 30+ days past due rises from 1.76 % to 3.01 % in four months.

Of the loans that are open and not in default, the share that is 2 or 3 behind. It is a shift of the hazard model's x,
the same for all loans of the segment in a month, solved so that the share that is *expected* is the wanted one: the
chain's probabilities are carried forward from the loans' openings. In the months of the rise each has its own shift;
before and after it stays the same, which brings the share to its level and keeps it there. Nothing that was drawn
enters, so the true PD stays exact; what a book shows is the wanted share and binomial noise.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dagster_project.simulator.behaviour import BEHIND, CURE, DEFAULT, hazard_index, transitions
from dagster_project.simulator.clock import Floats, Ints
from dagster_project.simulator.products import PRODUCTS, Loans

SEGMENT = next(n for n, p in enumerate(PRODUCTS) if p.name == "car_loan")
FROM, TO, RISES_FOR = 0.0176, 0.0301, 4
# Months in which the share is FROM before it rises: all that a warning compares with. In a short book as many as there
# are after its first year, whose loans are too young for a level; 4 at least.
_HELD_FOR, _YOUNG, _HELD_AT_LEAST = 24, 12, 4
_LEVELS_IN = 12  # months in which the shift after the rise is solved to keep the share
_SHIFTS = (-3.0, 3.0)
_SAMPLE = 4_000  # loans on which a shift that stays is solved; with all it would take minutes on a large book


def in_segment(loans: Loans) -> NDArray[np.bool_]:
    """Whose loans drift."""
    return np.asarray(loans.product == SEGMENT)


@dataclass(frozen=True)
class _Segment:
    """The segment's loans, and what is expected of each: by loan, the chance of each state."""

    opened: Ints
    term: Ints
    hazard: Floats
    stress: Floats
    chance: Floats

    def month(self, month: int, shift: float) -> Floats:
        """The chances a month later."""
        runs = self.opened < month
        age, stress = month - self.opened[runs], float(self.stress[month])
        later = self.chance.copy()
        index = hazard_index(self.hazard[runs], age, stress) + shift
        later[runs] = _next(self.chance[runs], index, stress, age, self.term[runs])
        return later

    def share_at(self, first: int, last: int, shift: float) -> float:
        """The share that is expected at the end of `last` where each month since `first` has this shift."""
        segment = self
        for month in range(first, last + 1):
            segment = replace(segment, chance=segment.month(month, shift))
        has_run = segment.chance[self.opened < last]
        return float(has_run[:, 2:4].sum() / max(has_run[:, :4].sum(), 1e-9))

    def solve(self, first: int, last: int, wanted: float) -> float:
        """The shift with which the share is the wanted one, by halving; the nearest there is, if none."""
        low, high = _SHIFTS
        for _ in range(20):
            middle = (low + high) / 2
            low, high = (middle, high) if self.share_at(first, last, middle) < wanted else (low, middle)
        return (low + high) / 2

    def sample(self) -> "_Segment":
        """Some of the loans, evenly chosen."""
        every = slice(None, None, max(len(self.opened) // _SAMPLE, 1))
        part = self.opened[every], self.term[every], self.hazard[every]
        return _Segment(*part, self.stress, self.chance[every])


def drift_path(loans: Loans, stress: Floats, rises_from: int | None) -> Floats:
    """The segment's shift of x by month: the share rises in the RISES_FOR months after `rises_from`, and stays."""
    path, end = np.zeros(len(stress)), len(stress) - 1
    if rises_from is None:
        return path
    mine = in_segment(loans)
    none_late = np.zeros((int(mine.sum()), 6))
    none_late[:, 0] = 1
    segment = _Segment(loans.opened_month[mine], loans.term[mine], loans.hazard[mine], stress, none_late)
    held = max(min(max(rises_from - _HELD_FOR, _YOUNG), rises_from - _HELD_AT_LEAST), 0) + 1
    risen = rises_from + RISES_FOR
    for month in range(min(risen + 2, len(stress))):
        if month == held:
            path[held : rises_from + 1] = segment.sample().solve(held, min(rises_from, end), FROM)
        elif rises_from < month <= risen:
            path[month] = segment.solve(month, month, FROM + (TO - FROM) * (month - rises_from) / RISES_FOR)
        elif month == risen + 1:
            path[month:] = segment.sample().solve(month, min(risen + _LEVELS_IN, end), TO)
        segment = replace(segment, chance=segment.month(month, path[month]))
    return path


def _next(chance: Floats, index: Floats, stress: float, age: Ints, term: Ints) -> Floats:
    later = np.einsum("ij,ijk->ik", chance, transitions(index, stress))
    later[:, 0] += CURE * chance[:, DEFAULT]
    later[:, DEFAULT] -= CURE * chance[:, DEFAULT]
    for b in BEHIND:
        later[:, b] *= age - b < term
    return np.asarray(later)
