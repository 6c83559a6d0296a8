"""Payment holidays: which loans get one, and when it begins.

Loans are drawn at random before the simulation starts, independently of their risk. Each drawn loan gets one of the
OPEN_FOR months in which holidays can begin. In that month it is granted a holiday, if it was open and not past due at
the previous month-end. Otherwise it gets no holiday.

A holiday lasts MONTHS months. During this time nothing falls due, nothing is paid, and the loan's state (see
`behaviour`) does not change. The remaining instalments follow after the holiday. Their amounts stay the same, because
no interest is charged for the holiday.

Cards get no holidays. Neither do car loans, because a plan can make their arrears rise (see `drift`).
"""

import numpy as np

from dagster_project.simulator.clock import Ints, generator
from dagster_project.simulator.drift import in_segment
from dagster_project.simulator.products import Loans

MONTHS = 3
SHARE, OPEN_FOR = 0.12, 3  # share of loans that are drawn; number of months in which holidays can begin
NEVER = 1_000_000


def draw_lots(seed: int, loans: Loans, first_month: int | None) -> Ints:
    """Return the month in which each loan's payment holiday would begin.

    Holidays begin in the OPEN_FOR months from `first_month` on. The result is NEVER for a loan that was not drawn. If
    `first_month` is None, it is NEVER for all loans.
    """
    count = len(loans.number)
    if first_month is None:
        return np.full(count, NEVER)
    random = generator(seed, "deferrals")
    is_drawn = random.random(count) < SHARE
    month = first_month + random.integers(0, OPEN_FOR, count)
    return np.where(is_drawn & (loans.opened_month < month) & ~loans.is_card & ~in_segment(loans), month, NEVER)


def months_rested(begun: Ints, month: Ints | int) -> Ints:
    """Return how many months of the holiday that began in `begun` have passed by the end of `month`.

    The result is 0 before the holiday, and MONTHS after it.
    """
    return np.clip(month - begun + 1, 0, MONTHS)


def is_resting(begun: Ints, month: Ints | int) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Return whether `month` is a month of the payment holiday that began in the month `begun`."""
    return np.asarray((month >= begun) & (month < begun + MONTHS))
