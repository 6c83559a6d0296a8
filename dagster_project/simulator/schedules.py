"""Instalments to the cent: the principal of all instalments adds up exactly to the amount lent.

The day count is 30/360: a month's interest is the balance times a twelfth of the annual rate, rounded to the cent. All
instalments of a schedule are equal except the last, which absorbs the rounding.
"""

from dataclasses import dataclass

import numpy as np

from dagster_project.simulator.clock import Floats, Ints


def annuity(principal: Ints, annual_rate: Floats, term: Ints) -> Ints:
    """Return the equal monthly instalment in cents."""
    monthly_rate = annual_rate / 12
    return np.rint(principal * monthly_rate / -np.expm1(-term * np.log1p(monthly_rate))).astype(np.int64)


def split(balance: Ints, annual_rate: Floats, instalment: Ints, left: Ints) -> tuple[Ints, Ints]:
    """Return (principal, interest) of the next instalment. `left`: number of instalments left, including this one."""
    interest = np.rint(balance * annual_rate / 12).astype(np.int64)
    return np.where(left > 1, instalment - interest, balance), interest


@dataclass(frozen=True)
class Instalments:
    """The schedules of several loans, one entry per instalment. `loan`: index in the arrays that were passed in."""

    loan: Ints
    number: Ints
    principal: Ints
    interest: Ints


def instalments(principal: Ints, annual_rate: Floats, instalment: Ints, term: Ints) -> Instalments:
    """Return the whole schedules, sorted by loan and number."""
    shape = (len(principal), int(term.max(initial=0)))
    principals, interests = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    balance = principal.copy()
    for k in range(shape[1]):
        repaid, interests[:, k] = split(balance, annual_rate, instalment, term - k)
        principals[:, k] = repaid
        balance -= repaid  # 0 from the last instalment on
    within = np.arange(shape[1]) < term[:, None]
    loan, place = np.nonzero(within)
    return Instalments(loan, place + 1, principals[within], interests[within])
