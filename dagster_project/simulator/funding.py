"""Joint lending: which loans are funded by the lender together with partners, and the share of each funder.

A loan without rows is funded by the lender alone. One or two partners of a joint loan together fund 30 to 90 % of it,
in steps of 5 %.
"""

from dataclasses import dataclass

import numpy as np

from dagster_project.simulator.clock import Ints, generator
from dagster_project.simulator.products import Loans

OWN = "own"
PARTNERS = ("bank_a", "bank_b", "bank_c", "insurer_d", "fund_e")
JOINT, TWO_PARTNERS = 0.30, 0.4
_STEP = 5


@dataclass(frozen=True)
class Funding:
    """The funders of the joint loans, as arrays with one entry per loan and funder, sorted by loan.

    `loan` is the loan's index in the book. `partner` is the funder's index in `names`, where 0 is the lender. `percent`
    is the share of the loan that the funder provides.
    """

    loan: Ints
    partner: Ints
    percent: Ints

    names = (OWN, *PARTNERS)


def draw_funding(seed: int, loans: Loans) -> Funding:
    """Draw which loans are funded jointly, and the shares of their funders.

    Cards are never funded jointly.
    """
    random = generator(seed, "funding")
    loan = np.flatnonzero((random.random(len(loans.number)) < JOINT) & ~loans.is_card)
    count = len(loan)
    partners = _STEP * random.integers(6, 19, count)
    second = np.where(random.random(count) < TWO_PARTNERS, _STEP * random.integers(1, partners // _STEP), 0)
    first = random.integers(0, len(PARTNERS), count)
    other = (first + random.integers(1, len(PARTNERS), count)) % len(PARTNERS)
    names = np.stack([np.zeros(count, dtype=np.int64), first + 1, other + 1], axis=1)
    percents = np.stack([100 - partners, partners - second, second], axis=1)
    held = percents > 0
    return Funding(np.repeat(loan, held.sum(axis=1)), names[held], percents[held])
