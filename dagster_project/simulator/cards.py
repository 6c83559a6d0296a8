"""Revolving cards: their purchases, and the monthly statement, whose minimum payment is due in the next month.

Cards miss and pay instalments with the same probabilities as loans (see `behaviour`). The instalment of a card is the
minimum of its last statement. A prepayment pays the whole debt and closes the account. A card has no last instalment.

A card in default makes no purchases. Every other card buys enough that its balance without arrears is at least
LEAST_OWED at each month-end. So there is a minimum to pay or to miss in every month.
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
    """The statements of one month-end, as arrays with one entry per card. Amounts are in cents.

    Attributes:
        loan: The index of the card in the book.
        balance: The balance at the month-end, including arrears.
        limit: The card's limit.
        purchases: The purchases of the month.
        due: The minimum that was due in the month that ends.
        paid: The amount that was paid in the month that ends.
        minimum: The minimum that is due in the next month.
        rest: The balance without arrears and `minimum`.
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
    """Return the amount that each card without arrears pays above its minimum, in cents.

    `owed` is the balance without the minimum. `choice` is a random number from 0 to 1, which decides whether the card
    pays all of `owed`, a part of it, or nothing. If the card pays a part, it is the share `fraction` of `owed`.
    """
    part = np.where(choice < PAYS_MORE, (fraction * owed).astype(np.int64), 0)
    return np.asarray(np.where(choice < PAYS_ALL, owed, part))


def purchases(owed: Ints, arrears: Ints, limit: Ints, buys: Ints, normal: Floats) -> Ints:
    """Return the purchases of each card in a month, in cents.

    Purchases stay within the limit, unless more are needed to bring the balance without arrears up to LEAST_OWED.
    `owed` is the balance before the purchases, including `arrears`. `buys` is 0 for cards in default, which make no
    purchases, and 1 for all others. `normal` has one standard normal random number per card.
    """
    wanted = (SPENDING * limit * np.exp(0.6 * normal)).astype(np.int64)
    within = np.minimum(wanted, np.maximum(limit - owed, 0))
    return np.asarray(np.maximum(within, LEAST_OWED - (owed - arrears)) * buys)


def minimum_due(balance: Ints, arrears: Ints) -> Ints:
    """Return the minimum payment of each statement, in cents.

    It is a share of the balance, but at least MINIMUM, and never more than the balance without arrears.
    """
    share = np.rint(MINIMUM_SHARE * balance).astype(np.int64)
    return np.asarray(np.clip(np.maximum(share, MINIMUM), 0, np.maximum(balance - arrears, 0)))
