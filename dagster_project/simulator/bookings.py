"""From what a loan pays in a month to bookings on days: early, on the day, late, returned, reversed; how, and by whom.

All bookings of a month stay in it and add up to what is paid, so that the month-end is as the ledger has it.
"""

from dataclasses import dataclass

import numpy as np

from dagster_project.simulator.clock import Calendar, Ints, generator
from dagster_project.simulator.ledger import Paid
from dagster_project.simulator.products import Loans

EARLY, ON_THE_DAY = 0.25, 0.50
RETURNED_THEN_PAID, BOOKED_TWICE, RETURNED = 0.006, 0.001, 0.2
METHODS = ("direct_debit", "transfer", "cash")
_DEBIT, _TRANSFER, _CASH = range(3)
IN_CASH, HELPED = 0.05, 0.02  # of what is paid late; of the loans
FIRST_PAYER = 800_000_001
# Last digits of a booking's number: of one that is booked twice and taken back, and of a debit that bounces.
DOUBLE, BOUNCE = (3, 4), (5, 6)


@dataclass(frozen=True)
class Bookings:
    """One entry a booking, by day: loan's place, number, day, and cents; negative takes a booking back.

    `payer`: the number of whoever pays for the borrower, 0 where he pays himself. `known`: the day of the file.
    """

    loan: Ints
    number: Ints
    day: Ints
    amount: Ints
    method: Ints
    payer: Ints
    known_on: Ints


def draw_helpers(seed: int, loans: Loans) -> Ints:
    """By loan the number of a third party who pays at times, 0 where there is none."""
    is_helped = generator(seed, "payers").random(len(loans.number)) < HELPED
    return np.where(is_helped, FIRST_PAYER + np.arange(len(is_helped)), 0)


def book(paid: Paid, loans: Loans, helper: Ints, month: int, seed: int, calendar: Calendar) -> Bookings:
    """The bookings of one month.

    Who misses a month may have a debit returned: booked, and taken back three days later. Who pays may be returned
    first, or be booked twice and corrected a day later. The longer behind, the later in the month one pays. Who does
    not pay by direct debit transfers, or pays in cash; helpers transfer.
    """
    random = generator(seed, "bookings", month)
    uniform, second = random.random((2, len(paid.loan)))
    last = calendar.days_in(month)
    due_day = loans.due_day[paid.loan]
    settles = paid.principal > 0
    is_regular = (paid.before == 0) & (paid.behind == 0) & ~settles
    spare = np.where(is_regular, np.minimum(last - due_day, 10), last - due_day)
    late = due_day + (second * (spare + 1)).astype(np.int64)
    on_time = np.where(uniform < EARLY, due_day - 1 - (second * 2).astype(np.int64), due_day)
    day = np.where(is_regular & (uniform < EARLY + ON_THE_DAY), on_time, late)
    day = np.where(settles, due_day, day)

    pays = np.flatnonzero(paid.amount > 0)
    chance = random.random(len(paid.loan))
    returned = pays[(chance[pays] < RETURNED_THEN_PAID) & ~settles[pays]]
    twice = pays[(chance[pays] >= 1 - BOOKED_TWICE) & ~settles[pays]]
    bounced = np.flatnonzero((paid.behind > paid.before) & (paid.amount == 0) & (chance < RETURNED) & (paid.due > 0))
    steps = (
        (pays, 0, day, paid.amount),
        (returned, 1, np.minimum(day + 2, last), -paid.amount),
        (returned, 2, np.minimum(day + 4, last), paid.amount),
        (twice, 3, day, paid.amount),
        (twice, 4, np.minimum(day + 1, last), -paid.amount),
        (bounced, 5, due_day, paid.due),
        (bounced, 6, np.minimum(due_day + 3, last), -paid.due),
    )
    by_debit = is_regular & (uniform < EARLY + ON_THE_DAY)
    by_debit[returned] = True
    method = np.where(by_debit, _DEBIT, np.where(random.random(len(paid.loan)) < IN_CASH, _CASH, _TRANSFER))
    method = np.where(settles, _TRANSFER, method)
    debit, transfer = np.full_like(method, _DEBIT), np.full_like(method, _TRANSFER)
    methods = (method, debit, transfer, method, method, debit, debit)
    place = np.concatenate([who for who, _, _, _ in steps])
    kind = np.concatenate([np.full(len(who), n) for who, n, _, _ in steps])
    days = np.concatenate([on[who] for who, _, on, _ in steps])
    amounts = np.concatenate([amount[who] for who, _, _, amount in steps])
    how = np.concatenate([m[who] for (who, *_), m in zip(steps, methods, strict=True)])
    order = np.lexsort((kind, place, days))
    loan, how = paid.loan[place][order], how[order]
    booked_on = days[order] - 1 + calendar.starts[month]
    return Bookings(
        loan=loan,
        number=(loans.number[loan] * 1_000 + month) * 10 + kind[order],
        day=booked_on,
        amount=amounts[order],
        method=how,
        payer=np.where(how == _TRANSFER, helper[loan], 0),
        known_on=booked_on,
    )
