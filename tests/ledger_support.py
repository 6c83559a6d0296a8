"""Random books of a ledger source as raw tables, and a plain ledger that goes through a loan day by day."""

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from dagster_project.ingestion.contracts.canonical import CANONICAL, raw_schema

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
    """One version of an instalment, known until another is; amounts in cents."""

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
    """One version of a payment, known until another is; amount in cents, negative is a reversal."""

    paid_on: dt.date
    amount: int
    known_at: dt.date
    until: dt.date | None = None
    number: str = ""


@dataclass(frozen=True)
class Event:
    """What the source tells beside schedule and payments: `write_off` or `restructured`."""

    occurred_on: dt.date
    kind: str
    known_at: dt.date


@dataclass
class Loan:
    """A loan and all that was ever told of it; amounts in cents."""

    loan_id: str
    opened_on: dt.date
    known_at: dt.date
    original: int
    annual_rate: float | None = None
    instalments: list[Instalment] = field(default_factory=list)
    payments: list[Payment] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)


def random_book(seed: int, loans: int, months: int = 14) -> list[Loan]:
    """Loans that pay, miss, pay in part, in advance, too much, get reversals, new schedules; some of it known late, and
    some corrected, once or several times."""
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
    """Every version of the rows; a version may be known on the same day as the one before."""
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
    """Another amount, none, another day, or the same: something changed that the ledger does not ask for."""
    shifted = p.paid_on - dt.timedelta(days=int(random.integers(1, 60)))
    kinds = ({"amount": p.amount * 2}, {"amount": 0}, {"paid_on": shifted}, {})
    return replace(p, **kinds[random.integers(len(kinds))])


def _other_instalment(i: Instalment, random: np.random.Generator) -> Instalment:
    """Another amount, another day, or another split."""
    shifted = i.due_on + dt.timedelta(days=int(random.integers(-40, 60)))
    kinds = ({"amount": i.amount + 3_000}, {"due_on": shifted}, {"principal": i.amount - 100, "interest": 100})
    return replace(i, **kinds[random.integers(len(kinds))])


def with_events(book: list[Loan], seed: int) -> list[Loan]:
    """The same loans, some of them written off or with changed terms, by a version or without; some known late."""
    random = np.random.default_rng(seed)
    end = max(row.known_at for loan in book for row in (*loan.payments, *loan.instalments))
    for loan in book:
        for kind, share in (("restructured", 0.2), ("restructured", 0.05), ("write_off", 0.12), ("write_off", 0.02)):
            day = loan.opened_on + dt.timedelta(days=int(random.integers(-3, (end - loan.opened_on).days)))
            if random.random() < share and (day, kind) not in {(e.occurred_on, e.kind) for e in loan.events}:
                loan.events.append(Event(day, kind, _known(random, day)))
        for day in sorted({max(i.valid_from, loan.opened_on) for i in loan.instalments}):
            if random.random() < 0.4 and (day, "restructured") not in {(e.occurred_on, e.kind) for e in loan.events}:
                loan.events.append(Event(day, "restructured", _known(random, day)))
    return book


def with_comebacks(book: list[Loan], seed: int, share: float = 0.2) -> list[Loan]:
    """The same loans; some of them pay all that is due on some day, and from then on what falls due."""
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
                    loan.payments.append(Payment(day, arrears, _known(random, day), number=number))
    return book


def _known(random: np.random.Generator, day: dt.date) -> dt.date:
    late = random.random() < 0.06
    return day + dt.timedelta(days=int(random.integers(3, 100) if late else random.integers(0, LAG + 1)))


def _version(random: np.random.Generator, start: dt.date, first_due: dt.date, known_at: dt.date) -> list[Instalment]:
    count, told = int(random.integers(1, 11)), random.random()
    rows = []
    for k in range(count):
        due_on = first_due + dt.timedelta(days=int(30.5 * k) + int(random.integers(0, 2)))
        amount = int(random.choice([10_000, 9_999, 12_345, 5_000]))
        interest = int(amount * 0.02 * (count - k))
        principal = amount - interest if told < 0.4 else None
        known = _known(random, known_at) if random.random() < 0.05 else known_at  # a part of a version may be late
        rows.append(Instalment(start, k + 1, due_on, amount, principal, interest if told < 0.5 else None, known))
    return rows


def _loan(loan_id: str, random: np.random.Generator, end: dt.date) -> Loan:
    opened = dt.date(2020, 1, 1) + dt.timedelta(days=int(random.integers(0, 200)))
    loan = Loan(loan_id, opened, _known(random, opened), int(random.integers(20, 110)) * 1_000)
    loan.annual_rate = float(random.choice([0.0, 0.05, 0.12])) if random.random() < 0.8 else None
    begins = opened if random.random() < 0.8 else opened + dt.timedelta(days=int(random.integers(-5, 40)))
    if random.random() < 0.98:  # some have no schedule at all
        wait = dt.timedelta(days=int(random.integers(0, 45)))
        loan.instalments = _version(random, begins, max(begins, opened) + wait, _known(random, max(begins, opened)))
    while loan.instalments and random.random() < 0.2:
        new = max(begins, opened) + dt.timedelta(days=int(random.integers(1, 300)))
        # it may repeat instalments that were due before it holds; those count as the older version has them
        first_due = new + dt.timedelta(days=int(random.integers(-40, 40)))
        if new not in {i.valid_from for i in loan.instalments}:
            loan.instalments += _version(random, new, first_due, _known(random, new))
    weak = random.random() < 0.4
    for instalment in loan.instalments:
        if random.random() < (0.5 if weak else 0.08):
            continue
        part = random.choice([1, 1, 1, 1, 0.5, 0.3, 2, 3])
        shift = int(random.choice([0, 0, -20, 1, 5, 20, 45, 100]))
        paid_on = max(instalment.due_on + dt.timedelta(days=shift), opened - 3 * DAY)
        loan.payments.append(Payment(paid_on, int(instalment.amount * part), _known(random, paid_on)))
        if random.random() < 0.08:
            back = paid_on + dt.timedelta(days=int(random.integers(0, 60)))
            loan.payments.append(Payment(back, -loan.payments[-1].amount, _known(random, back)))
    if random.random() < 0.15:  # all at once, or too much
        day = opened + dt.timedelta(days=int(random.integers(0, 300)))
        loan.payments.append(Payment(day, int(random.integers(50_000, 150_000)), _known(random, day)))
    loan.payments = [p for p in loan.payments if p.paid_on < end]
    return loan


def raw_tables(book: list[Loan], source: str) -> dict[str, pl.DataFrame]:
    """The book as canonical tables, with a payment whose loan nobody knows; line_no is the place in its table."""
    lineage = {"source": source, "delivery_id": "0" * 16, "ingested_at": dt.datetime(2026, 1, 1)}
    money = lambda cents: None if cents is None else Decimal(cents) / 100
    loans, schedules, payments, borrowers, events = [], [], [], [], []
    for loan in book:
        told = {"event_on": loan.opened_on, "known_at": loan.known_at, "borrower_id": f"b{loan.loan_id}"}
        borrowers.append(told)
        rate = None if loan.annual_rate is None else Decimal(str(loan.annual_rate))
        amounts = {"original_amount": money(loan.original), "opened_on": loan.opened_on, "annual_rate": rate}
        loans.append(told | amounts | {"loan_id": loan.loan_id, "product": "loan", "currency": "EUR"})
        for i in loan.instalments:
            parts = {"amount": money(i.amount), "principal": money(i.principal), "interest": money(i.interest)}
            when = {"valid_from": i.valid_from, "due_on": i.due_on, "event_on": i.valid_from, "known_at": i.known_at}
            schedules.append(parts | when | {"loan_id": loan.loan_id, "instalment_no": i.no, "until": i.until})
        for p in loan.payments:
            when = {"paid_on": p.paid_on, "event_on": p.paid_on, "known_at": p.known_at, "until": p.until}
            what = {"payment_id": p.number, "loan_id": loan.loan_id, "amount": money(p.amount), "currency": "EUR"}
            payments.append(when | what)
        for e in loan.events:
            when = {"occurred_on": e.occurred_on, "event_on": e.occurred_on, "known_at": e.known_at}
            events.append(when | {"loan_id": loan.loan_id, "kind": e.kind})
    payments.append(payments[0] | {"payment_id": "suspense", "loan_id": "nobody"})
    rows = {"borrowers": borrowers, "loans": loans, "schedules": schedules, "payments": payments}
    rows["loan_events"] = events
    return lined(rows, lineage)


def lined(rows: dict[str, list[dict]], lineage: dict) -> dict[str, pl.DataFrame]:
    """Canonical tables of these rows, and the notes of which is a newer version of which: `until` when each counts."""
    keys = {
        "payments": ("payment_id",),
        "schedules": ("loan_id", "valid_from", "instalment_no"),
        "statements": ("loan_id", "month_on"),
    }
    placed = {t: [lineage | {"line_no": n} | row for n, row in enumerate(found)] for t, found in rows.items()}
    placed["superseded"] = []
    for table, key in keys.items():
        versions = defaultdict(list)
        for row in placed.get(table, []):
            versions[tuple(row[c] for c in key)].append(row)
        for of_one in versions.values():
            in_order = sorted(of_one, key=lambda row: (row["known_at"], row["until"] or dt.date.max))
            for old, new in combinations(in_order, 2):
                place = {"old_delivery_id": old["delivery_id"], "old_line_no": old["line_no"], "table_name": table}
                when = {c: new[c] for c in ("event_on", "known_at", "line_no")}
                placed["superseded"].append(lineage | when | place)
    return {table: pl.DataFrame(placed.get(table, []), schema=raw_schema(table)) for table in CANONICAL}


def write_selection(tables: dict[str, pl.DataFrame], selection: Path, source: str) -> None:
    """Lay the tables where dbt reads them."""
    for table, frame in tables.items():
        folder = selection / source / table
        folder.mkdir(parents=True)
        frame.with_columns(source=pl.lit(source)).write_parquet(folder / "rows.parquet")


@dataclass(frozen=True)
class Month:
    """What the ledger says of one month of a loan, in cents."""

    dpd_max: int
    dpd_end: int
    due: int
    paid: int
    balance: int
    arrears: int
    is_closed: bool


class DayByDay:
    """One loan under one knowledge: rows visible by a month-end, or all."""

    def __init__(self, loan: Loan, known_by: dt.date | None = None):
        """`known_by`: the month-end by which a row must be visible; None is all that is known now."""
        self.loan = loan
        by = known_by or dt.date.max
        seen = lambda event, row: (
            visible(loan, event, row.known_at) <= by and (row.until is None or visible(loan, event, row.until) > by)
        )
        self.instalments = [i for i in loan.instalments if seen(i.valid_from, i)]
        self.payments = [(max(p.paid_on, loan.opened_on), p.amount) for p in loan.payments if seen(p.paid_on, p)]
        self.versions = sorted({i.valid_from for i in self.instalments})

    def plan(self, day: dt.date) -> list[Instalment]:
        """The instalments that count, as the schedule stands on a day."""
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
        told = all(i.principal is not None or i.interest is not None for i in self._taking_part(day))
        repaid = 0
        for i in plan:
            principal = i.principal if i.principal is not None else i.amount - (i.interest or 0)
            part = min(left, i.amount)
            left -= part
            repaid += max(part - (i.amount - principal), 0)
        return max((self.loan.original if told else sum(self._principal(i) for i in plan)) - repaid, 0)

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
        """From the month in which it can be known."""
        told = [visible(self.loan, e.occurred_on, e.known_at) for e in self.loan.events if e.kind == "write_off"]
        return any(month <= end for month in told)

    def has_row(self, end: dt.date) -> bool:
        """No row where the loan was closed a month before and nothing happened."""
        before = end.replace(day=1) - DAY
        if month_end(self.loan.opened_on) == end or not self.is_closed(before):
            return True
        dates = [paid_on for paid_on, _ in self.payments] + self.versions
        return any(before < d <= end for d in dates)


def visible(loan: Loan, event: dt.date, known_at: dt.date) -> dt.date:
    """The first month-end at which a feature may use a row."""
    known = max(known_at, loan.known_at) - LAG * DAY
    return month_end(max(event, loan.opened_on, known))


def knowledge(loan: Loan, end: dt.date) -> list[dt.date]:
    """The month-ends as of which a loan's month is told: its own, and those at which something late of it is seen."""
    late = {visible(loan, loan.opened_on, loan.known_at)}
    for i in loan.instalments:
        seen_from = visible(loan, i.valid_from, i.known_at)
        if (i.until is None or visible(loan, i.valid_from, i.until) > seen_from) and i.valid_from <= end:
            late.add(seen_from)
    # Of payments, what becomes of a day's sum and number: a version that another replaces in the same month is nothing.
    told: dict[tuple[dt.date, dt.date], list[int]] = defaultdict(lambda: [0, 0])
    for p in loan.payments:
        for sign, known in ((1, p.known_at), (-1, p.until)):
            if known and p.paid_on <= end:
                change = told[max(p.paid_on, loan.opened_on), visible(loan, p.paid_on, known)]
                change[0], change[1] = change[0] + sign * p.amount, change[1] + sign
    late |= {seen_from for (_, seen_from), change in told.items() if any(change)}
    own = {end} if visible(loan, loan.opened_on, loan.known_at) <= end else set()
    return sorted(own | {v for v in late if v > end})


def reported(book: list[Loan]) -> dt.date:
    """The last month that the source has reported: something is known of the day on which it is observed."""
    known = [loan.known_at for loan in book]
    known += [row.known_at for loan in book for row in (*loan.payments, *loan.instalments)]
    newest = max(known) - dt.timedelta(days=LAG)
    return newest if month_end(newest) == newest else newest.replace(day=1) - DAY
