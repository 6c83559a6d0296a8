"""Planned shifts in the risk of a book. They are applied before the first month is simulated.

The true PD is calculated from the shifted hazard, so it stays exact. A plan can contain these shifts:

    channel_drift: In the second half of the months in which loans are opened, half of the new loans come from
        partners, instead of a fifth. These loans are riskier.
    unfair_proxy: For most borrowers, the region depends on the sex. Risk depends on neither.
    cohort_month: The loans opened in every third month are riskier, for no reason other than the month.
    unmatured_cohorts: The loans opened in the last 12 months of the book are far riskier. Their history is too
        short to show this.
"""

from dataclasses import replace

import numpy as np
import polars as pl

from dagster_project.simulator.borrowers import REGIONS, Borrowers
from dagster_project.simulator.clock import generator
from dagster_project.simulator.planted import noted
from dagster_project.simulator.products import CHANNELS, Loans

DRIFTED, DRIFTED_HAZARD = 0.50, 0.8
FOLLOWS_SEX = 0.8
COHORT_HAZARD, UNMATURED_HAZARD, UNMATURED_MONTHS = 0.8, 1.2, 12
_PARTNER = next(n for n, (name, _) in enumerate(CHANNELS) if name == "partner")


def shift_borrowers(seed: int, names: frozenset[str], borrowers: Borrowers) -> tuple[Borrowers, list[pl.DataFrame]]:
    """Apply those shifts in `names` that change borrowers.

    Return the borrowers, and the rows for the list of planted items. If no such shift is in `names`, return the same
    borrowers and an empty list.
    """
    if "unfair_proxy" not in names:
        return borrowers, []
    random, count = generator(seed, "tilts", 0), len(borrowers.number)
    follows = random.random(count) < FOLLOWS_SEX
    half = REGIONS // 2
    region = random.integers(1, half + 1, count) + half * (borrowers.sex - 1)
    moved = replace(borrowers, region=np.where(follows, region, borrowers.region))
    return moved, [noted("unfair_proxy", customer_no=borrowers.number[follows])]


def shift_loans(
    seed: int, names: frozenset[str], loans: Loans, months: int, opened_within: int
) -> tuple[Loans, list[pl.DataFrame]]:
    """Apply those shifts in `names` that change loans.

    `months` is the number of months in the book, and `opened_within` the number of months in which loans are opened.
    Return the loans, and the rows for the list of planted items. If no such shift is in `names`, return the same loans
    and an empty list.
    """
    listed = []
    if "channel_drift" in names:
        is_late = loans.opened_month >= opened_within / 2
        base = CHANNELS[_PARTNER][1]
        turns = is_late & (generator(seed, "tilts", 1).random(len(loans.number)) < (DRIFTED - base) / (1 - base))
        channel = np.where(turns, _PARTNER, loans.channel)
        loans = _riskier(replace(loans, channel=channel), is_late & (channel == _PARTNER), DRIFTED_HAZARD)
        listed.append(noted("channel_drift", loan_id=loans.number[is_late & (channel == _PARTNER)]))
    for name, hit, more in (
        ("cohort_month", loans.opened_month % 3 == 0, COHORT_HAZARD),
        ("unmatured_cohorts", loans.opened_month >= months - UNMATURED_MONTHS, UNMATURED_HAZARD),
    ):
        if name in names:
            loans = _riskier(loans, hit, more)
            listed.append(noted(name, loan_id=loans.number[hit]))
    return loans, listed


def _riskier(loans: Loans, hit: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], more: float) -> Loans:
    return replace(loans, hazard=loans.hazard + more * hit)
