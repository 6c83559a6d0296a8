"""Payment holidays: whose instalments are put off, and when.

Lots are drawn before the book begins and have nothing to do with risk. A loan whose lot falls on a month is granted a
holiday there if it is 0 behind at the month-end before: for MONTHS months nothing falls due, nothing is paid, and the
chain rests; all instalments that are left follow after them, unchanged (no interest is charged for the holiday). Cards
take no part, nor does the segment whose share `drift` plans.
"""

import numpy as np

from dagster_project.simulator.clock import Ints, generator
from dagster_project.simulator.drift import in_segment
from dagster_project.simulator.products import Loans

MONTHS = 3
SHARE, OPEN_FOR = 0.12, 3  # of the loans, in so many months
NEVER = 1_000_000


def draw_lots(seed: int, loans: Loans, first_month: int | None) -> Ints:
    """The month in which each loan's holiday would begin; NEVER without a programme, and for those not in it."""
    count = len(loans.number)
    if first_month is None:
        return np.full(count, NEVER)
    random = generator(seed, "deferrals")
    is_drawn = random.random(count) < SHARE
    month = first_month + random.integers(0, OPEN_FOR, count)
    return np.where(is_drawn & (loans.opened_month < month) & ~loans.is_card & ~in_segment(loans), month, NEVER)


def months_rested(begun: Ints, month: Ints | int) -> Ints:
    """How many months of the holiday that began in `begun` lie in the months up to `month`, this one included."""
    return np.clip(month - begun + 1, 0, MONTHS)


def is_resting(begun: Ints, month: Ints | int) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Whether the month is one of the holiday."""
    return np.asarray((month >= begun) & (month < begun + MONTHS))
