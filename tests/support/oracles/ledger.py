"""The loans of a ledger source, and a simple ledger that follows one loan day by day."""

import datetime as dt
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise

LAG = 2
DAY = dt.timedelta(days=1)


def month_end(day: dt.date) -> dt.date:
    return (day.replace(day=1) + 32 * DAY).replace(day=1) - DAY


def months_from(first: dt.date, last: dt.date) -> list[dt.date]:
    found = [month_end(first)]
    while found[-1] < last:
        found.append(month_end(found[-1] + DAY))
    return [m for m in found if m <= last]


@dataclass(frozen=True)
class Instalment:
    """One version of an instalment of a loan, with amounts in cents.

    The version is known from `known_at` on. `until` is the date on which another version replaced it, or None if none
    did.
    """

    valid_from: dt.date
    no: int
    due_on: dt.date
    amount: int
    principal: int | None
    interest: int | None
    known_at: dt.date
    until: dt.date | None = None


@dataclass(frozen=True)
class Payment:
    """One version of a payment, with the amount in cents. A negative amount is a reversal.

    The version is known from `known_at` on. `until` is the date on which another version replaced it, or None if none
    did.
    """

    paid_on: dt.date
    amount: int
    known_at: dt.date
    until: dt.date | None = None
    number: str = ""


@dataclass(frozen=True)
class Event:
    """A `write_off` or `restructured` event that the source reports for a loan."""

    occurred_on: dt.date
    kind: str
    known_at: dt.date


@dataclass
class Loan:
    """A loan and all rows that were ever reported about it, with amounts in cents."""

    loan_id: str
    opened_on: dt.date
    known_at: dt.date
    original: int
    annual_rate: float | None = None
    instalments: list[Instalment] = field(default_factory=list)
    payments: list[Payment] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)


@dataclass(frozen=True)
class Month:
    """The figures of one month of a loan. Amounts are in cents, and `dpd_max` and `dpd_end` are in days."""

    dpd_max: int
    dpd_end: int
    due: int
    paid: int
    balance: int
    arrears: int
    is_closed: bool


class DayByDay:
    """The ledger of one loan, using only the rows that are visible by a given month-end."""

    def __init__(self, loan: Loan, known_by: dt.date | None = None):
        """Select the rows of the loan that are visible by the month-end `known_by`.

        If `known_by` is None, select all rows that no other version has replaced.
        """
        self.loan = loan
        by = known_by or dt.date.max
        seen = lambda event, row: (
            visible(loan, event, row.known_at) <= by and (row.until is None or visible(loan, event, row.until) > by)
        )
        self.instalments = [i for i in loan.instalments if seen(i.valid_from, i)]
        self.payments = [(max(p.paid_on, loan.opened_on), p.amount) for p in loan.payments if seen(p.paid_on, p)]
        self.versions = sorted({i.valid_from for i in self.instalments})

    def plan(self, day: dt.date) -> list[Instalment]:
        """Return the instalments that count on `day`, in the order of their due dates.

        An instalment counts if its schedule version is the newest one on its due date. Versions that begin after `day`
        are ignored.
        """
        begun = [v for v in self.versions if v <= day]
        ends = dict(pairwise(begun))
        counted = [
            i
            for i in self.instalments
            if i.valid_from in begun and i.valid_from <= i.due_on and i.due_on < ends.get(i.valid_from, dt.date.max)
        ]
        return sorted(counted, key=lambda i: (i.due_on, i.no))

    def paid_by(self, day: dt.date) -> int:
        return sum(amount for paid_on, amount in self.payments if paid_on <= day)

    def dpd(self, day: dt.date) -> int:
        paid, due = self.paid_by(day), 0
        for i in self.plan(day):
            due += i.amount
            if i.due_on > day:
                break
            if due > paid:
                return (day - i.due_on).days
        return 0

    def is_closed(self, day: dt.date) -> bool:
        return any(v <= day for v in self.versions) and sum(i.amount for i in self.plan(day)) <= self.paid_by(day)

    def balance(self, day: dt.date) -> int:
        plan, left = self.plan(day), max(self.paid_by(day), 0)
        if self.is_closed(day):
            return 0
        if not plan:
            return self.loan.original
        has_parts = all(i.principal is not None or i.interest is not None for i in self._taking_part(day))
        repaid = 0
        for i in plan:
            principal = i.principal if i.principal is not None else i.amount - (i.interest or 0)
            part = min(left, i.amount)
            left -= part
            repaid += max(part - (i.amount - principal), 0)
        return max((self.loan.original if has_parts else sum(self._principal(i) for i in plan)) - repaid, 0)

    def _taking_part(self, day: dt.date) -> list[Instalment]:
        return [i for i in self.instalments if i.valid_from <= day]

    @staticmethod
    def _principal(i: Instalment) -> int:
        return i.principal if i.principal is not None else i.amount - (i.interest or 0)

    def month(self, end: dt.date) -> Month:
        first = end.replace(day=1)
        days = [first + k * DAY for k in range((end - first).days + 1)]
        dpd = [self.dpd(day) for day in days]
        plan = self.plan(end)
        return Month(
            dpd_max=max(dpd),
            dpd_end=dpd[-1],
            due=sum(i.amount for i in plan if first <= i.due_on <= end),
            paid=sum(amount for paid_on, amount in self.payments if first <= paid_on <= end),
            balance=self.balance(end),
            arrears=sum(i.amount for i in plan if i.due_on <= end) - self.paid_by(end),
            is_closed=self.is_closed(end),
        )

    def is_written_off(self, end: dt.date) -> bool:
        """Return whether the loan is written off at a month-end.

        This is the case from the first month-end at which the write-off can be known.
        """
        month_ends = [visible(self.loan, e.occurred_on, e.known_at) for e in self.loan.events if e.kind == "write_off"]
        return any(month <= end for month in month_ends)

    def has_row(self, end: dt.date) -> bool:
        """Return whether the loan has a row at a month-end.

        There is no row if the loan was already closed at the previous month-end, and no payment was made and no
        schedule began during the month. The month in which the loan was opened always has a row.
        """
        before = end.replace(day=1) - DAY
        if month_end(self.loan.opened_on) == end or not self.is_closed(before):
            return True
        dates = [paid_on for paid_on, _ in self.payments] + self.versions
        return any(before < d <= end for d in dates)


def visible(loan: Loan, event: dt.date, known_at: dt.date) -> dt.date:
    """Return the first month-end at which a feature may use a row.

    `event` is the date on which the row's event happened, and `known_at` the date on which the row became known.
    """
    newest = max(known_at, loan.known_at) - LAG * DAY
    return month_end(max(event, loan.opened_on, newest))


def knowledge(loan: Loan, end: dt.date) -> list[dt.date]:
    """Return the month-ends as of which one month of a loan is reported, in ascending order.

    They are the end of the month itself, if the loan is visible by then, and each later month-end at which a row dated
    up to the end of the month became visible or was replaced. Payment changes that cancel each other out are ignored.
    """
    late = {visible(loan, loan.opened_on, loan.known_at)}
    for i in loan.instalments:
        seen_from = visible(loan, i.valid_from, i.known_at)
        if (i.until is None or visible(loan, i.valid_from, i.until) > seen_from) and i.valid_from <= end:
            late.add(seen_from)
    # Of payments, the change of a day's sum and number: a version that another replaces in the same month is nothing.
    changes: dict[tuple[dt.date, dt.date], list[int]] = defaultdict(lambda: [0, 0])
    for p in loan.payments:
        for sign, known_on in ((1, p.known_at), (-1, p.until)):
            if known_on and p.paid_on <= end:
                change = changes[max(p.paid_on, loan.opened_on), visible(loan, p.paid_on, known_on)]
                change[0], change[1] = change[0] + sign * p.amount, change[1] + sign
    late |= {seen_from for (_, seen_from), change in changes.items() if any(change)}
    own = {end} if visible(loan, loan.opened_on, loan.known_at) <= end else set()
    return sorted(own | {v for v in late if v > end})


def reported(book: list[Loan]) -> dt.date:
    """Return the last month-end that the source has reported.

    A month counts as reported if some row became known `LAG` days after its end or later.
    """
    known_dates = [loan.known_at for loan in book]
    known_dates += [row.known_at for loan in book for row in (*loan.payments, *loan.instalments)]
    newest = max(known_dates) - dt.timedelta(days=LAG)
    return newest if month_end(newest) == newest else newest.replace(day=1) - DAY
