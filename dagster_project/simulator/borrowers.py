"""The borrowers of a book, with their latent risk, income, tenure, region, and protected attributes (sex and age).

The protected attributes have no effect on anything else, unless a plan contains `unfair_proxy` (see `risk_shifts`).
"""

from dataclasses import dataclass

import numpy as np

from dagster_project.simulator.clock import Floats, Ints, generator

REGIONS = 8
FIRST_CUSTOMER, FIRST_ACCOUNT = 50_000_001, 700_000_001


@dataclass(frozen=True)
class Borrowers:
    """The borrowers of a book, as arrays with one entry per borrower.

    `number` is the customer number. `risk` is the latent risk, which no delivered file contains. It has a standard
    normal distribution, and higher values mean more risk.
    """

    number: Ints
    risk: Floats
    income: Ints  # cents per month
    tenure_months: Ints
    region: Ints
    sex: Ints
    age: Ints

    @property
    def account(self) -> Ints:
        """Return the number of the account from which each borrower pays."""
        return self.number + (FIRST_ACCOUNT - FIRST_CUSTOMER)


def make_borrowers(seed: int, count: int, first: int = FIRST_CUSTOMER) -> Borrowers:
    """Make `count` borrowers with consecutive customer numbers that start with `first`.

    On average, riskier borrowers have a lower income and a shorter tenure. Region, sex and age are independent of risk.
    """
    random = generator(seed, "borrowers", first - FIRST_CUSTOMER)
    risk = random.standard_normal(count)
    income = np.exp(7.9 - 0.15 * risk + 0.35 * random.standard_normal(count))
    tenure = random.gamma(2.0, 30.0, count) * np.exp(-0.2 * risk)
    return Borrowers(
        number=np.arange(count, dtype=np.int64) + first,
        risk=risk,
        income=np.rint(income * 100).astype(np.int64),
        tenure_months=np.minimum(tenure, 480).astype(np.int64),
        region=random.integers(1, REGIONS + 1, count),
        sex=random.integers(1, 3, count),
        age=random.integers(21, 71, count),
    )
