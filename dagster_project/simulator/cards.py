"""Revolving cards: purchases, and the monthly statement with the minimum that falls due in the next month.

A card follows the same chain as a loan: its instalment is the minimum of the last statement, a prepayment pays
everything and closes the account, and there is no last instalment. A card in default buys nothing. The balance less
arrears of every other card is at least LEAST_OWED at a month-end, so every month has a minimum to pay, or to miss.
"""

from dataclasses import dataclass

import numpy as np

from dagster_project.simulator.clock import Floats, Ints

MINIMUM_SHARE, MINIMUM = 0.04, 500
LEAST_OWED = 10_000
SPENDING = 0.08  # of the limit per month, at the median
# Of the cards without arrears, the share that pays everything, and the share that pays more than the minimum.
PAYS_ALL, PAYS_MORE = 0.35, 0.65


@dataclass(frozen=True)
class Statements:
    """The statements of a month-end. `loan` is the place in the book; amounts are in cents.

    `due` and `paid` belong to the month that ends; `minimum` falls due in the next month; `rest` is the balance less
    `minimum` and arrears.
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
    """What a card without arrears pays above the minimum. `owed`: the balance less the minimum."""
    part = np.where(choice < PAYS_MORE, (fraction * owed).astype(np.int64), 0)
    return np.asarray(np.where(choice < PAYS_ALL, owed, part))


def purchases(owed: Ints, arrears: Ints, limit: Ints, buys: Ints, normal: Floats) -> Ints:
    """The purchases of a month: within the limit, enough to owe LEAST_OWED. `buys`: 0 for cards in default, else 1."""
    wanted = (SPENDING * limit * np.exp(0.6 * normal)).astype(np.int64)
    within = np.minimum(wanted, np.maximum(limit - owed, 0))
    return np.asarray(np.maximum(within, LEAST_OWED - (owed - arrears)) * buys)


def minimum_due(balance: Ints, arrears: Ints) -> Ints:
    """The minimum of a statement: a share of the balance, at least MINIMUM, at most the balance less arrears."""
    share = np.rint(MINIMUM_SHARE * balance).astype(np.int64)
    return np.asarray(np.clip(np.maximum(share, MINIMUM), 0, np.maximum(balance - arrears, 0)))
