"""The defaults of a loan, found by going through its days one by one.

This module uses none of the methods of the project's SQL. Days past due are counted from the oldest unpaid instalment,
a counter counts the days in material arrears, and the state of each day follows from the day before.
"""

import datetime as dt
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate

from support.oracles.ledger import DAY, DayByDay, Loan, month_end

UNKNOWN_RATE = 0.08  # a year, of loans without a rate


@dataclass(frozen=True)
class Rules:
    """The rules for defaults and cures.

    `amount` is in cents. `share` is in per cent of the balance at the previous month-end.
    """

    days: int = 90
    amount: int = 6_000
    share: int = 8
    cure_months: int = 3
    cure_dpd: int = 30
    forborne_months: int = 12
    value_lost: float = 0.01


@dataclass
class Spell:
    """One default of a loan.

    `known_at` is the first date on which the lender could know about the default. `ended_on` and `ended_by` are None
    while the default continues. `value_lost` is the share of value that the lender lost by a distressed restructuring,
    rounded to four decimal places. It is None for other triggers.
    """

    defaulted_on: dt.date
    trigger: str
    known_at: dt.date
    value_lost: float | None = None
    ended_on: dt.date | None = None
    ended_by: str | None = None


def months_later(day: dt.date, months: int) -> dt.date:
    """Return the same day of the month `months` months later, or the last day of that month if it is shorter."""
    first = dt.date(day.year + (day.month - 1 + months) // 12, (day.month - 1 + months) % 12 + 1, 1)
    return min(first + (day.day - 1) * DAY, month_end(first))


@dataclass(frozen=True)
class Day:
    """The figures of a loan at the end of a day, with amounts in cents.

    `dpd` is the number of days past due. `balance_before` is the balance at the previous month-end, or the original
    amount in the month in which the loan was opened.
    """

    on: dt.date
    arrears: int
    dpd: int
    is_closed: bool
    balance_before: int


def days_of(loan: Loan, last: dt.date) -> Iterator[Day]:
    """Yield the ledger's figures for every day of a loan, from its opening to the day `last`."""
    ledger = DayByDay(loan)
    on, paid, balance = loan.opened_on, 0, loan.original
    paid_on: dict[dt.date, int] = {}
    for day, amount in ledger.payments:
        paid_on[day] = paid_on.get(day, 0) + amount
    while on <= last:
        if on in ledger.versions or on == loan.opened_on:
            plan = ledger.plan(on)
            due_dates, due_by = [i.due_on for i in plan], [0, *accumulate(i.amount for i in plan)]
        if on.day == 1 and on != loan.opened_on:
            balance = ledger.balance(on - DAY)
        paid += paid_on.get(on, 0)
        past = bisect_left(due_dates, on)  # what is due today is not past due
        oldest = max(bisect_right(due_by, paid) - 1, 0)  # a reversal may leave less than nothing paid
        dpd = (on - due_dates[oldest]).days if oldest < past else 0
        is_closed = any(v <= on for v in ledger.versions) and due_by[-1] <= paid
        yield Day(on, due_by[past] - paid, dpd, is_closed, balance)
        on += DAY


class Defaults:
    """The defaults of one loan and its state at each month-end.

    `spells` has the defaults in the order of their dates. `standing` has the state by month-end: `performing`,
    `past_due`, `default`, `probation`, `closed` or `written_off`.
    """

    def __init__(self, loan: Loan, last: dt.date, rules: Rules) -> None:
        self.loan, self.rules, self.ledger = loan, rules, DayByDay(loan)
        self.spells: list[Spell] = []
        self.standing: dict[dt.date, str] = {}
        self._run, self._last_bad, self._last_change = 0, None, None
        self._follow(last)

    @property
    def open(self) -> Spell | None:
        return self.spells[-1] if self.spells and self.spells[-1].ended_on is None else None

    def _follow(self, last: dt.date) -> None:
        gone = False
        for day in days_of(self.loan, last):
            kinds = {e.kind for e in self.loan.events if max(e.occurred_on, self.loan.opened_on) == day.on}
            gone = gone or self._live(day, kinds)
            if day.on == month_end(day.on):
                self.standing[day.on] = self._stands(day, gone=gone)

    def _live(self, day: Day, kinds: set[str]) -> bool:
        """Process one day with events of the given kinds, and return whether a write-off ends the loan on this day."""
        rules = self.rules
        is_material = day.arrears > 0 and day.arrears >= rules.amount
        is_material = is_material and day.arrears * 100 >= rules.share * day.balance_before
        self._run = self._run + 1 if is_material else 0
        if self._run > rules.days or day.dpd > rules.cure_dpd:
            self._last_bad = day.on
        if "restructured" in kinds and not day.is_closed:
            self._last_change = day.on
        if "write_off" in kinds:
            if not self.open:
                self._begin(day.on, "written_off")
            self._end(day.on, "written_off")
            return True
        if day.is_closed:
            self._last_bad = self._last_change = None
            if self.open:
                self._end(day.on, "settled")
        elif self.open:
            if self._is_over(day.on):
                self._end(day.on, "cured")
        elif self._run > rules.days:
            self._begin(day.on, "past_due")
        elif self._last_change == day.on:
            lost = self._value_lost(day.on)
            if lost is not None and lost > rules.value_lost:
                self._begin(day.on, "distressed_restructuring", lost)
        return False

    def _value_lost(self, on: dt.date) -> float | None:
        """Return the share of value that the remaining instalments lose on the day `on` through a new schedule.

        The values under the old and the new schedule are both discounted to this day, and payments up to it are
        subtracted. Returns None if the old value was zero or negative.
        """
        growth = 1 + (self.loan.annual_rate if self.loan.annual_rate is not None else UNKNOWN_RATE) / 12
        before, after = (
            sum(i.amount * growth ** (-12 * max((i.due_on - on).days, 0) / 365) for i in self.ledger.plan(day))
            - self.ledger.paid_by(on)
            for day in (on - DAY, on)
        )
        return (before - after) / before if before > 1e-6 else None

    def _is_over(self, on: dt.date) -> bool:
        waits = [(self._last_bad, self.rules.cure_months), (self._last_change, self.rules.forborne_months)]
        return all(on >= months_later(since, months) for since, months in waits if since)

    def _begin(self, on: dt.date, trigger: str, value_lost: float | None = None) -> None:
        self.spells.append(Spell(on, trigger, max(on, self._known_by(on)), value_lost and round(value_lost, 4)))

    def _end(self, on: dt.date, by: str) -> None:
        self.spells[-1] = replace(self.spells[-1], ended_on=on, ended_by=by)

    def _known_by(self, on: dt.date) -> dt.date:
        """Return the first date on which all rows dated up to the day `on` were known, including their corrections."""
        loan = self.loan
        versions = [(i.valid_from, i) for i in loan.instalments] + [(p.paid_on, p) for p in loan.payments]
        # what was corrected on the day on which it was known never counted
        rows = [(event, row.until or row.known_at) for event, row in versions if row.until != row.known_at]
        rows += [(e.occurred_on, e.known_at) for e in loan.events]
        return max([loan.known_at, *(known_on for event, known_on in rows if max(event, loan.opened_on) <= on)])

    def _stands(self, day: Day, *, gone: bool) -> str:
        if gone:
            return "written_off"
        if day.is_closed:
            return "closed"
        if self.open:
            began = month_end(self.open.defaulted_on) == day.on
            return "default" if began or self._last_bad == day.on else "probation"
        return "past_due" if day.dpd > 0 else "performing"


def known_on(loan: Loan, day: dt.date) -> Loan:
    """Return the loan as it was known on a day.

    Rows that became known later are left out. A row that was replaced later counts as not replaced.
    """
    tables = (loan.instalments, loan.payments)
    instalments, payments = (
        [replace(r, until=r.until if r.until and r.until <= day else None) for r in rows if r.known_at <= day]
        for rows in tables
    )
    events = [e for e in loan.events if e.known_at <= day]
    return replace(loan, instalments=instalments, payments=payments, events=events)
