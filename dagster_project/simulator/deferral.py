"""Payment holidays: which loans get one, and when.

Before the book begins, some loans are drawn, each with a month, independently of risk. A drawn loan is granted a
holiday in its month if it was 0 behind at the month-end before. For MONTHS months nothing falls due, nothing is paid,
and the state of the chain does not change. The remaining instalments follow after the holiday, unchanged, because the
holiday bears no interest. Cards are excluded, and so is the segment whose arrears `drift` plans.
"""

import numpy as np

from dagster_project.simulator.clock import Ints, generator
from dagster_project.simulator.drift import in_segment
from dagster_project.simulator.products import Loans

MONTHS = 3
SHARE, OPEN_FOR = 0.12, 3  # share of loans that are drawn; number of months in which holidays can begin
NEVER = 1_000_000


def draw_lots(seed: int, loans: Loans, first_month: int | None) -> Ints:
    """Return the month in which each loan's holiday would begin.

    The month is NEVER for a loan that is not drawn, and for all loans if `first_month` is None.
    """
    count = len(loans.number)
    if first_month is None:
        return np.full(count, NEVER)
    random = generator(seed, "deferrals")
    is_drawn = random.random(count) < SHARE
    month = first_month + random.integers(0, OPEN_FOR, count)
    return np.where(is_drawn & (loans.opened_month < month) & ~loans.is_card & ~in_segment(loans), month, NEVER)


def months_rested(begun: Ints, month: Ints | int) -> Ints:
    """The number of holiday months up to and including `month`, for a holiday that began in `begun`."""
    return np.clip(month - begun + 1, 0, MONTHS)


def is_resting(begun: Ints, month: Ints | int) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Whether `month` is a month of the holiday that began in `begun`."""
    return np.asarray((month >= begun) & (month < begun + MONTHS))
