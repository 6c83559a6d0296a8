"""Revolving cards: what is bought, and the monthly statement with the minimum that falls due next.

A card behaves by the same chain as a loan: the instalment is the minimum of the last statement, a prepayment pays all
and closes the account, and there is no last instalment. Who is in default buys nothing. The balance less arrears of any
other is at least LEAST_OWED at a month-end, so that there is a minimum to pay, or to miss, in each month.
"""

from dataclasses import dataclass

import numpy as np

from dagster_project.simulator.clock import Floats, Ints

MINIMUM_SHARE, MINIMUM = 0.04, 500
LEAST_OWED = 10_000
SPENDING = 0.08  # of the limit a month, at the median
PAYS_ALL, PAYS_MORE = 0.35, 0.65  # of those who owe no arrears; the others between them pay a part, or the minimum


@dataclass(frozen=True)
class Statements:
    """The statements of a month-end. `loan` is the place in the book; amounts in cents.

    `due` and `paid` are of the month that ends; `minimum` falls due in the next; `rest` is what else is owed, arrears
    apart.
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
    """What one who owes no arrears pays above the minimum, of all that is `owed` beside it."""
    part = np.where(choice < PAYS_MORE, (fraction * owed).astype(np.int64), 0)
    return np.asarray(np.where(choice < PAYS_ALL, owed, part))


def purchases(owed: Ints, arrears: Ints, limit: Ints, buys: Ints, normal: Floats) -> Ints:
    """What is bought in a month, within the limit; `buys` is 0 for those who may not."""
    wanted = (SPENDING * limit * np.exp(0.6 * normal)).astype(np.int64)
    within = np.minimum(wanted, np.maximum(limit - owed, 0))
    return np.asarray(np.maximum(within, LEAST_OWED - (owed - arrears)) * buys)


def minimum_due(balance: Ints, arrears: Ints) -> Ints:
    """The minimum of a statement: a share of the balance, arrears apart from it, and MINIMUM at least."""
    share = np.rint(MINIMUM_SHARE * balance).astype(np.int64)
    return np.asarray(np.clip(np.maximum(share, MINIMUM), 0, np.maximum(balance - arrears, 0)))
