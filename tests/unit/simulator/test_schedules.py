"""Tests that the instalments of a schedule add up to the cent."""

import numpy as np

from dagster_project.simulator.schedules import annuity, instalments, split


def test_schedules_add_up_to_the_cent():
    random = np.random.default_rng(1)
    principal = random.integers(50_000, 6_000_000, 5_000)
    rate, term = random.uniform(0.01, 0.5, 5_000), random.integers(1, 61, 5_000)
    instalment = annuity(principal, rate, term)
    made = instalments(principal, rate, instalment, term)
    assert (np.bincount(made.loan, made.principal) == principal).all()
    assert (np.bincount(made.loan) == term).all()
    assert (made.principal > 0).all() and (made.interest >= 0).all()
    amount, is_last = made.principal + made.interest, made.number == term[made.loan]
    assert (amount[~is_last] == instalment[made.loan][~is_last]).all()
    assert (np.abs(amount - instalment[made.loan])[is_last] <= 200).all()


def test_golden_annuity():
    """A loan of 1,000.00 at 12 % over 12 months has a monthly instalment of 88.85.

    The first instalment contains 10.00 of interest.
    """
    one = lambda value: np.array([value])
    instalment = annuity(one(100_000), one(0.12), one(12))
    assert instalment.item() == 8_885
    assert [part.item() for part in split(one(100_000), one(0.12), instalment, one(12))] == [7_885, 1_000]
