"""Revolving cards: purchases, and the monthly statement with the minimum that is due in the next month.

A card follows the same chain as a loan. Its instalment is the minimum of the last statement. A prepayment pays
everything and closes the account. There is no last instalment. A card in default buys nothing. For every other card,
the balance less arrears is at least LEAST_OWED at a month-end, so every month has a minimum to pay or to miss.
"""

from dataclasses import dataclass

import numpy as np

from dagster_project.simulator.clock import Floats, Ints

MINIMUM_SHARE, MINIMUM = 0.04, 500
LEAST_OWED = 10_000
SPENDING = 0.08  # median purchases per month, as a share of the limit
# Of the cards without arrears: the share that pays everything, and the share that pays more than the minimum (which
# includes the first share).
PAYS_ALL, PAYS_MORE = 0.35, 0.65


@dataclass(frozen=True)
class Statements:
    """The statements of a month-end, one entry per card. Amounts are in cents.

    `loan`: index of the card in the book. `due` and `paid` belong to the month that ends. `minimum` is due in the next
    month. `rest` is the balance less `minimum` and arrears.
    """

    loan: Ints
    balance: Ints
    limit: Ints
    purchases: Ints
    due: Ints
    paid: Ints
    minimum: Ints
    rest: Ints


def paid_above(owed: Ints, choice: Floats, fraction: Floats) -> Ints:
    """Return the amounts that cards without arrears pay above the minimum.

    `owed`: the balance less the minimum. `choice` and `fraction`: random numbers from 0 to 1.
    """
    part = np.where(choice < PAYS_MORE, (fraction * owed).astype(np.int64), 0)
    return np.asarray(np.where(choice < PAYS_ALL, owed, part))


def purchases(owed: Ints, arrears: Ints, limit: Ints, buys: Ints, normal: Floats) -> Ints:
    """Return the purchases of a month: within the limit, and enough to owe LEAST_OWED.

    `buys`: 0 for cards in default, else 1. `normal`: standard normal random numbers.
    """
    wanted = (SPENDING * limit * np.exp(0.6 * normal)).astype(np.int64)
    within = np.minimum(wanted, np.maximum(limit - owed, 0))
    return np.asarray(np.maximum(within, LEAST_OWED - (owed - arrears)) * buys)


def minimum_due(balance: Ints, arrears: Ints) -> Ints:
    """Return the minimum of a statement: a share of the balance, at least MINIMUM, at most the balance less arrears."""
    share = np.rint(MINIMUM_SHARE * balance).astype(np.int64)
    return np.asarray(np.clip(np.maximum(share, MINIMUM), 0, np.maximum(balance - arrears, 0)))
