"""Borrowers: latent risk, income, tenure, region, and the protected attributes.

The protected attributes affect nothing unless a plan contains `unfair_proxy` (see `risk_shifts`).
"""

from dataclasses import dataclass

import numpy as np

from dagster_project.simulator.clock import Floats, Ints, generator

REGIONS = 8
FIRST_CUSTOMER, FIRST_ACCOUNT = 50_000_001, 700_000_001


@dataclass(frozen=True)
class Borrowers:
    """One entry per borrower. `risk` is latent and in no file: standard normal, higher is worse."""

    number: Ints
    risk: Floats
    income: Ints  # cents per month
    tenure_months: Ints
    region: Ints
    sex: Ints
    age: Ints

    @property
    def account(self) -> Ints:
        """The number of the account that each borrower pays from."""
        return self.number + (FIRST_ACCOUNT - FIRST_CUSTOMER)


def make_borrowers(seed: int, count: int, first: int = FIRST_CUSTOMER) -> Borrowers:
    """Make `count` borrowers, numbered from `first` on.

    Income and tenure fall with risk. Region, sex and age are independent of risk.
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
