"""Payment holidays: which loans get one, and when.

Lots are drawn before the book begins and are independent of risk. A loan whose lot falls on a month is granted a
holiday if it was 0 behind at the month-end before: for MONTHS months nothing falls due, nothing is paid, and the chain
rests. The remaining instalments follow after the holiday, unchanged (it bears no interest). Cards are excluded, and so
is the segment whose arrears `drift` plans.
"""

import numpy as np

from dagster_project.simulator.clock import Ints, generator
from dagster_project.simulator.drift import in_segment
from dagster_project.simulator.products import Loans

MONTHS = 3
SHARE, OPEN_FOR = 0.12, 3  # share of the loans; number of months in which holidays begin
NEVER = 1_000_000


def draw_lots(seed: int, loans: Loans, first_month: int | None) -> Ints:
    """The month in which each loan's holiday would begin; NEVER for loans without a lot or without a programme."""
    count = len(loans.number)
    if first_month is None:
        return np.full(count, NEVER)
    random = generator(seed, "deferrals")
    is_drawn = random.random(count) < SHARE
    month = first_month + random.integers(0, OPEN_FOR, count)
    return np.where(is_drawn & (loans.opened_month < month) & ~loans.is_card & ~in_segment(loans), month, NEVER)


def months_rested(begun: Ints, month: Ints | int) -> Ints:
    """Number of months of the holiday that began in `begun`, counted up to and including `month`."""
    return np.clip(month - begun + 1, 0, MONTHS)


def is_resting(begun: Ints, month: Ints | int) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Whether `month` is a month of the holiday that began in `begun`."""
    return np.asarray((month >= begun) & (month < begun + MONTHS))
