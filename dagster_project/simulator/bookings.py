"""Dated bookings, made from the amounts that loans pay in a month.

A payment can be booked early, on the due day or late. It can also be returned or reversed. Each booking has a method
and a payer. All bookings for a month are dated in that month. Together they add up to the amount paid, so that the
figures at the month-end agree with the ledger.
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
IN_CASH, HELPED = 0.05, 0.02  # share of payments not by direct debit; share of loans with a third-party payer
FIRST_PAYER = 800_000_001
# Last digits of booking numbers: a double booking and its reversal; a returned direct debit and its reversal.
DOUBLE, BOUNCE = (3, 4), (5, 6)


@dataclass(frozen=True)
class Bookings:
    """The bookings of a month, as arrays with one entry per booking, sorted by day.

    Days are counted from 1970-01-01.

    Attributes:
        loan: The index of the loan in the book.
        number: The booking's number. Its last digit is the kind of booking (see DOUBLE and BOUNCE).
        day: The day of the payment.
        amount: The amount in cents. A negative amount reverses another booking.
        method: The index of the payment method in METHODS.
        payer: The number of the third party who pays, or 0 if the borrower pays.
        known_on: The day of the file that contains the booking.
    """

    loan: Ints
    number: Ints
    day: Ints
    amount: Ints
    method: Ints
    payer: Ints
    known_on: Ints


def draw_helpers(seed: int, loans: Loans) -> Ints:
    """Return for each loan the number of the third party who sometimes pays for the borrower.

    The number is 0 if there is no such third party.
    """
    is_helped = generator(seed, "payers").random(len(loans.number)) < HELPED
    return np.where(is_helped, FIRST_PAYER + np.arange(len(is_helped)), 0)


def book(paid: Paid, loans: Loans, helper: Ints, month: int, seed: int, calendar: Calendar) -> Bookings:
    """Return the bookings of one month.

    Some missed instalments appear as returned direct debits, which are booked and then reversed three days later. A
    payment may also be returned first and paid again, or be booked twice and corrected a day later. Borrowers in
    arrears pay on a day between the due day and the end of the month. Payments that are not direct debits are transfers
    or cash. Third parties pay by transfer only. `helper` has the number of each loan's third party, or 0.
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
