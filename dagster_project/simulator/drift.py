"""A segment that goes bad: the car loans' share of 30+ days past due rises from 1.76 % to 3.01 % in four months.

Of the loans that are open and not in default, the share that is 2 or 3 behind. It is a shift of the hazard model's x,
the same for all loans of the segment in a month, solved so that the share that is *expected* is the wanted one: the
chain's probabilities are carried forward from the loans' openings. Nothing that was drawn enters, so the true PD stays
exact; what a book shows is the wanted share and binomial noise.
"""

import numpy as np
from numpy.typing import NDArray

from dagster_project.simulator.behaviour import BEHIND, CURE, DEFAULT, hazard_index, transitions
from dagster_project.simulator.clock import Floats, Ints
from dagster_project.simulator.products import PRODUCTS, Loans

SEGMENT = next(n for n, p in enumerate(PRODUCTS) if p.name == "car_loan")
FROM, TO, RISES_FOR = 0.0176, 0.0301, 4
_HELD_FOR = 4  # months in which the share is FROM before it rises
_SHIFTS = (-3.0, 3.0)


def in_segment(loans: Loans) -> NDArray[np.bool_]:
    """Whose loans drift."""
    return np.asarray(loans.product == SEGMENT)


def drift_path(loans: Loans, stress: Floats, rises_from: int | None) -> Floats:
    """The segment's shift of x by month. It rises in the RISES_FOR months after `rises_from`, and then stays."""
    path = np.zeros(len(stress))
    if rises_from is None:
        return path
    mine = in_segment(loans)
    opened, term, hazard = loans.opened_month[mine], loans.term[mine], loans.hazard[mine]
    chance = np.zeros((len(opened), 6))
    chance[:, 0] = 1
    held_from = rises_from - _HELD_FOR
    for month in range(min(rises_from + RISES_FOR + 1, len(stress))):
        runs = opened < month
        age = month - opened[runs]
        index = hazard_index(hazard[runs], age, float(stress[month]))
        if month > held_from:
            wanted = FROM + (TO - FROM) * max(month - rises_from, 0) / RISES_FOR
            path[month] = _solve(chance[runs], index, float(stress[month]), age, term[runs], wanted)
        chance[runs] = _next(chance[runs], index + path[month], float(stress[month]), age, term[runs])
    path[rises_from + RISES_FOR :] = path[min(rises_from + RISES_FOR, len(stress) - 1)]
    return path


def _next(chance: Floats, index: Floats, stress: float, age: Ints, term: Ints) -> Floats:
    later = np.einsum("ij,ijk->ik", chance, transitions(index, stress))
    later[:, 0] += CURE * chance[:, DEFAULT]
    later[:, DEFAULT] -= CURE * chance[:, DEFAULT]
    for b in BEHIND:
        later[:, b] *= age - b < term
    return np.asarray(later)


def _solve(chance: Floats, index: Floats, stress: float, age: Ints, term: Ints, wanted: float) -> float:
    """The shift with which the expected share is the wanted one, by halving; the nearest there is, if none."""
    low, high = _SHIFTS
    for _ in range(20):
        middle = (low + high) / 2
        later = _next(chance, index + middle, stress, age, term)
        share = later[:, 2:4].sum() / max(later[:, :4].sum(), 1e-9)
        low, high = (middle, high) if share < wanted else (low, middle)
    return (low + high) / 2
