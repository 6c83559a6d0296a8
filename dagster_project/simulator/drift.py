"""A planted deterioration of one segment, the car loans.

The share of car loans that are 30 or more days past due rises from 1.76 % to 3.01 % within four months.

This share is the number of car loans with 2 or 3 unpaid instalments, divided by the number of car loans that are open
and not in default. It rises because a shift is added to x of the hazard model (see `behaviour`). In any one month, the
shift is the same for all car loans.

The shift is calculated so that the *expected* share has the wanted value. For this, the probabilities of the states are
carried forward month by month from each loan's opening. Each month of the rise has its own shift. Before and after the
rise, the shift is constant. It brings the share to its level and keeps it there.

The shift does not depend on how the simulated loans happen to pay, so the true PD stays exact. The share in a simulated
book is the wanted share plus binomial noise.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dagster_project.simulator.behaviour import BEHIND, CURE, DEFAULT, hazard_index, transitions
from dagster_project.simulator.clock import Floats, Ints
from dagster_project.simulator.products import PRODUCTS, Loans

SEGMENT = next(n for n, p in enumerate(PRODUCTS) if p.name == "car_loan")
FROM, TO, RISES_FOR = 0.0176, 0.0301, 4
# Number of months in which the share is kept at FROM before it rises; an early warning compares with these months. A
# short book has only the months after its first year, in which loans are too young for a stable level, but at least 4.
_HELD_FOR, _YOUNG, _HELD_AT_LEAST = 24, 12, 4
_LEVELS_IN = 12  # the shift after the rise is solved for the share this many months later
_SHIFTS = (-3.0, 3.0)
_SAMPLE = 4_000  # number of loans to solve a constant shift on; all loans of a large book would take minutes


def in_segment(loans: Loans) -> NDArray[np.bool_]:
    """Return whether each loan is in the segment that deteriorates, as an array of booleans."""
    return np.asarray(loans.product == SEGMENT)


@dataclass(frozen=True)
class _Segment:
    """The loans of the segment, with the probabilities of their states at one month-end.

    `chance` has the shape (loans, 6). Its columns are the states: 0 to 3 unpaid instalments, DEFAULT and CLOSED.
    `stress` has one value per month. The other arrays have one entry per loan.
    """

    opened: Ints
    term: Ints
    hazard: Floats
    stress: Floats
    chance: Floats

    def month(self, month: int, shift: float) -> Floats:
        """Return the probabilities of the states at the end of `month`, if the shift in this month is `shift`.

        The probabilities in `chance` must be those at the end of the previous month. Loans that were not opened before
        `month` keep their probabilities.
        """
        runs = self.opened < month
        age, stress = month - self.opened[runs], float(self.stress[month])
        later = self.chance.copy()
        index = hazard_index(self.hazard[runs], age, stress) + shift
        later[runs] = _next(self.chance[runs], index, stress, age, self.term[runs])
        return later

    def share_at(self, first: int, last: int, shift: float) -> float:
        """Return the expected share at the end of the month `last`.

        All months from `first` to `last` have the same shift.
        """
        segment = self
        for month in range(first, last + 1):
            segment = replace(segment, chance=segment.month(month, shift))
        has_run = segment.chance[self.opened < last]
        return float(has_run[:, 2:4].sum() / max(has_run[:, :4].sum(), 1e-9))

    def solve(self, first: int, last: int, wanted: float) -> float:
        """Return the constant shift from `first` to `last` that gives the wanted share at the end of `last`.

        The shift is found by bisection between the bounds in `_SHIFTS`. If no shift between them gives the wanted
        share, the result is the bound that comes closest.
        """
        low, high = _SHIFTS
        for _ in range(20):
            middle = (low + high) / 2
            low, high = (middle, high) if self.share_at(first, last, middle) < wanted else (low, middle)
        return (low + high) / 2

    def sample(self) -> "_Segment":
        """Return this segment with an evenly spaced sample of its loans.

        The sample has at least `_SAMPLE` loans, or all loans if there are fewer.
        """
        every = slice(None, None, max(len(self.opened) // _SAMPLE, 1))
        part = self.opened[every], self.term[every], self.hazard[every]
        return _Segment(*part, self.stress, self.chance[every])


def drift_path(loans: Loans, stress: Floats, rises_from: int | None) -> Floats:
    """Return the shift of x for the loans of the segment, with one value per month.

    The share rises in the RISES_FOR months after `rises_from`, and then stays at its new level. If `rises_from` is
    None, the shift is 0 in all months.
    """
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
