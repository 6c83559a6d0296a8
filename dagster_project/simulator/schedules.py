"""Instalment schedules, calculated to the cent.

The principal parts of a loan's instalments add up exactly to the amount lent. The day count is 30/360: the interest of
a month is the balance times a twelfth of the annual rate, rounded to the cent. All instalments of a schedule are equal,
except that the last one absorbs the rounding differences.
"""

from dataclasses import dataclass

import numpy as np

from dagster_project.simulator.clock import Floats, Ints


def annuity(principal: Ints, annual_rate: Floats, term: Ints) -> Ints:
    """Return the equal monthly instalment of each loan in cents, for a schedule of `term` instalments."""
    monthly_rate = annual_rate / 12
    return np.rint(principal * monthly_rate / -np.expm1(-term * np.log1p(monthly_rate))).astype(np.int64)


def split(balance: Ints, annual_rate: Floats, instalment: Ints, left: Ints) -> tuple[Ints, Ints]:
    """Return the next instalment of each loan, split into (principal, interest), in cents.

    `balance` is the principal not repaid yet. `left` is the number of instalments left, including this one. The last
    instalment repays the whole balance.
    """
    interest = np.rint(balance * annual_rate / 12).astype(np.int64)
    return np.where(left > 1, instalment - interest, balance), interest


@dataclass(frozen=True)
class Instalments:
    """The schedules of several loans, as arrays with one entry per instalment. Amounts are in cents.

    `loan` is the loan's index in the arrays that were passed to `instalments`. `number` counts the instalments of each
    loan from 1.
    """

    loan: Ints
    number: Ints
    principal: Ints
    interest: Ints


def instalments(principal: Ints, annual_rate: Floats, instalment: Ints, term: Ints) -> Instalments:
    """Return the complete schedules of these loans, sorted by loan and instalment number.

    The parameters are arrays with one entry per loan. `term` is the number of instalments.
    """
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
