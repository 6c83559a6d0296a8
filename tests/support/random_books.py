"""Random books of a ledger source, with late, missed and corrected payments, restructurings and write-offs."""

import datetime as dt
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from support.oracles.ledger import DAY, LAG, DayByDay, Event, Instalment, Loan, Payment


def random_book(seed: int, loans: int, months: int = 14) -> list[Loan]:
    """Return a random book of loans with payments and schedules.

    Loans pay in full, in part, in advance, too much or not at all, and some payments are reversed. Some loans get a new
    schedule. Some rows become known late, and some are corrected once or several times. A corrected payment may move to
    another loan.
    """
    random = np.random.default_rng(seed)
    end = dt.date(2020, 1, 1) + dt.timedelta(days=int(30.4 * months))
    book = [_loan(f"L{n:05}", random, end) for n in range(loans)]
    moved = []
    for loan in book:
        loan.instalments = _corrected(loan.instalments, random, _other_instalment)
        paid = [replace(p, number=f"{loan.loan_id}-{n}") for n, p in enumerate(loan.payments)]
        loan.payments = []
        for version in _corrected(paid, random, _other_payment):
            is_first = version in paid or replace(version, until=None) in paid
            (moved if not is_first and random.random() < 0.2 else loan.payments).append(version)
    for version in moved:  # it was booked to the wrong loan
        book[random.integers(loans)].payments.append(version)
    return book


def _corrected(rows: Iterable[Any], random: np.random.Generator, other: Callable[..., Any]) -> list[Any]:
    """Return all versions of the rows: each row itself, and the versions that correct it in random cases.

    A version may become known on the same day as the version that it replaces.
    """
    versions = []
    for row in rows:
        newest = row
        while random.random() < 0.06:
            known_at = newest.known_at + dt.timedelta(days=int(random.choice([0, 1, 10, 40, 120])))
            versions.append(replace(newest, until=known_at))
            newest = replace(other(newest, random), known_at=known_at)
        versions.append(newest)
    return versions


def _other_payment(p: Payment, random: np.random.Generator) -> Payment:
    """Return a changed version of a payment.

    It has twice the amount, an amount of 0 or an earlier date, or it is unchanged. An unchanged version stands for a
    correction of a column that the ledger does not use.
    """
    shifted = p.paid_on - dt.timedelta(days=int(random.integers(1, 60)))
    kinds = ({"amount": p.amount * 2}, {"amount": 0}, {"paid_on": shifted}, {})
    return replace(p, **kinds[random.integers(len(kinds))])


def _other_instalment(i: Instalment, random: np.random.Generator) -> Instalment:
    """Return a version of an instalment with a different amount, due date or division into principal and interest."""
    shifted = i.due_on + dt.timedelta(days=int(random.integers(-40, 60)))
    kinds = ({"amount": i.amount + 3_000}, {"due_on": shifted}, {"principal": i.amount - 100, "interest": 100})
    return replace(i, **kinds[random.integers(len(kinds))])


def with_events(book: list[Loan], seed: int) -> list[Loan]:
    """Add restructurings and write-offs to some loans of a book, and return the book.

    Some of the restructurings fall on the first day of a schedule version. Some events become known late.
    """
    random = np.random.default_rng(seed)
    end = max(row.known_at for loan in book for row in (*loan.payments, *loan.instalments))
    for loan in book:
        for kind, share in (("restructured", 0.2), ("restructured", 0.05), ("write_off", 0.12), ("write_off", 0.02)):
            day = loan.opened_on + dt.timedelta(days=int(random.integers(-3, (end - loan.opened_on).days)))
            if random.random() < share and (day, kind) not in {(e.occurred_on, e.kind) for e in loan.events}:
                loan.events.append(Event(day, kind, _known_date(random, day)))
        for day in sorted({max(i.valid_from, loan.opened_on) for i in loan.instalments}):
            if random.random() < 0.4 and (day, "restructured") not in {(e.occurred_on, e.kind) for e in loan.events}:
                loan.events.append(Event(day, "restructured", _known_date(random, day)))
    return book


def with_comebacks(book: list[Loan], seed: int, share: float = 0.2) -> list[Loan]:
    """Make some loans of a book pay off their arrears, and return the book.

    A chosen loan pays all that is due on a random day. From then on it pays each instalment on its due date. `share` is
    the share of loans that are chosen.
    """
    random = np.random.default_rng(seed)
    end = max(i.due_on for loan in book for i in loan.instalments)
    for loan in book:
        begin = loan.opened_on + dt.timedelta(days=int(random.integers(30, 400)))
        if random.random() < share:
            for day in sorted({begin, *(i.due_on for i in loan.instalments if begin < i.due_on < end)}):
                ledger = DayByDay(loan)
                arrears = sum(i.amount for i in ledger.plan(day) if i.due_on <= day) - ledger.paid_by(day)
                if arrears > 0:
                    number = f"{loan.loan_id}-{day}"
                    loan.payments.append(Payment(day, arrears, _known_date(random, day), number=number))
    return book


def _known_date(random: np.random.Generator, day: dt.date) -> dt.date:
    late = random.random() < 0.06
    return day + dt.timedelta(days=int(random.integers(3, 100) if late else random.integers(0, LAG + 1)))


def _version(random: np.random.Generator, start: dt.date, first_due: dt.date, known_at: dt.date) -> list[Instalment]:
    count, split_draw = int(random.integers(1, 11)), random.random()
    rows = []
    for k in range(count):
        due_on = first_due + dt.timedelta(days=int(30.5 * k) + int(random.integers(0, 2)))
        amount = int(random.choice([10_000, 9_999, 12_345, 5_000]))
        interest = int(amount * 0.02 * (count - k))
        principal = amount - interest if split_draw < 0.4 else None
        is_late = random.random() < 0.05  # a part of a version may be
        row_known_at = _known_date(random, known_at) if is_late else known_at
        interest_given = interest if split_draw < 0.5 else None
        rows.append(Instalment(start, k + 1, due_on, amount, principal, interest_given, row_known_at))
    return rows


def _loan(loan_id: str, random: np.random.Generator, end: dt.date) -> Loan:
    opened = dt.date(2020, 1, 1) + dt.timedelta(days=int(random.integers(0, 200)))
    loan = Loan(loan_id, opened, _known_date(random, opened), int(random.integers(20, 110)) * 1_000)
    loan.annual_rate = float(random.choice([0.0, 0.05, 0.12])) if random.random() < 0.8 else None
    begins = opened if random.random() < 0.8 else opened + dt.timedelta(days=int(random.integers(-5, 40)))
    if random.random() < 0.98:  # some have no schedule at all
        wait = dt.timedelta(days=int(random.integers(0, 45)))
        loan.instalments = _version(
            random, begins, max(begins, opened) + wait, _known_date(random, max(begins, opened))
        )
    while loan.instalments and random.random() < 0.2:
        new = max(begins, opened) + dt.timedelta(days=int(random.integers(1, 300)))
        # it may repeat instalments that were due before it holds; those count as the older version has them
        first_due = new + dt.timedelta(days=int(random.integers(-40, 40)))
        if new not in {i.valid_from for i in loan.instalments}:
            loan.instalments += _version(random, new, first_due, _known_date(random, new))
    weak = random.random() < 0.4
    for instalment in loan.instalments:
        if random.random() < (0.5 if weak else 0.08):
            continue
        part = random.choice([1, 1, 1, 1, 0.5, 0.3, 2, 3])
        shift = int(random.choice([0, 0, -20, 1, 5, 20, 45, 100]))
        paid_on = max(instalment.due_on + dt.timedelta(days=shift), opened - 3 * DAY)
        loan.payments.append(Payment(paid_on, int(instalment.amount * part), _known_date(random, paid_on)))
        if random.random() < 0.08:
            back = paid_on + dt.timedelta(days=int(random.integers(0, 60)))
            loan.payments.append(Payment(back, -loan.payments[-1].amount, _known_date(random, back)))
    if random.random() < 0.15:  # all at once, or too much
        day = opened + dt.timedelta(days=int(random.integers(0, 300)))
        loan.payments.append(Payment(day, int(random.integers(50_000, 150_000)), _known_date(random, day)))
    loan.payments = [p for p in loan.payments if p.paid_on < end]
    return loan
