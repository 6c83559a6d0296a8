"""The simulation of a book, month by month, from a plan with a seed.

The files of each month are written before the next month is simulated.
"""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from dagster_project.simulator.behaviour import CLOSED, DEFAULT
from dagster_project.simulator.bookings import book, draw_helpers
from dagster_project.simulator.borrowers import make_borrowers
from dagster_project.simulator.cases import collections, open_cases
from dagster_project.simulator.client_money import client_bookings
from dagster_project.simulator.clock import Calendar, Ints, as_date
from dagster_project.simulator.deferral import MONTHS as HOLIDAY
from dagster_project.simulator.deferral import NEVER, draw_lots
from dagster_project.simulator.dirt import plant
from dagster_project.simulator.drift import drift_path, in_segment
from dagster_project.simulator.files import (
    Landing,
    attribute_rows,
    borrower_rows,
    event_rows,
    funding_rows,
    loan_rows,
    opening_schedules,
    settlements,
    statement_rows,
    statement_schedules,
    version,
    write_payments,
)
from dagster_project.simulator.funding import Funding, draw_funding
from dagster_project.simulator.leakage_traps import Exports, delay
from dagster_project.simulator.ledger import Ledger, Paid, Rescheduled
from dagster_project.simulator.macro import macro_path
from dagster_project.simulator.planted import FRAUD, all_noted, noted
from dagster_project.simulator.products import assign_borrowers, make_loans
from dagster_project.simulator.risk_shifts import shift_borrowers, shift_loans
from dagster_project.simulator.truth import HORIZON, NOT_YET, loan_months
from dagster_project.simulator.typologies import hold_cases, make_cases

SOURCE = "simulated"


@dataclass(frozen=True)
class Plan:
    """The settings of a simulation. Months are counted from 0, the first month of the book.

    Attributes:
        loans: The number of loans, without planted fraud.
        months: The number of months in the book.
        seed: The seed of all random numbers.
        first: A date in the first month.
        opened_within: Loans are opened only in this many months at the start of the book. None means in all months.
        shock_month: The month in which an economic shock begins (see `macro`). None means no shock.
        steady: Whether the economy stays the same, apart from a shock.
        drift_month: The month after which the arrears of one segment rise (see `drift`). None means no rise.
        deferral_month: The first month in which payment holidays can begin (see `deferral`). None means no holidays.
        planted: The names of the items to plant (see `planted`).
        dirt: Whether to plant faults in the files (see `dirt`).
        redeliver: Whether to plant also the faults that show only in comparison with other files. It has no effect
            without `dirt`.
    """

    loans: int
    months: int
    seed: int
    first: dt.date = dt.date(2018, 1, 1)
    opened_within: int | None = None
    shock_month: int | None = None
    steady: bool = False
    drift_month: int | None = None
    deferral_month: int | None = None
    planted: frozenset[str] = frozenset()
    dirt: bool = False
    redeliver: bool = False


@dataclass(frozen=True)
class Counts:
    """The size of a simulated book.

    `loans`, `borrowers` and `schedule_rows` do not include planted fraud cases, but `payment_rows` does.
    """

    loans: int
    borrowers: int
    schedule_rows: int
    payment_rows: int
    statement_rows: int
    loan_months: int
    loans_in_default: int
    planted_rows: int
    planted_faults: int


def simulate(plan: Plan, out: Path, progress: Callable[[str, int, int], None] | None = None) -> Counts:
    """Simulate a book, and return its size.

    The files are written to `out/landing/simulated`, and the truth to `out/truth`. `progress` is called at the start of
    each step and at the end. It gets the name of the step, the number of steps done, and the total number of steps.

    Raises:
        FileExistsError: If `out` already has the folder `landing/simulated` or `truth`.
        PlanError: If the plan contains planted fraud and the book is too short for it.
    """
    report = progress or (lambda _step, _done, _total: None)
    simulated = _Book(plan, out)
    steps = plan.months + 1
    for month in range(plan.months):
        report(f"{as_date(int(simulated.calendar.starts[month])):%Y-%m}", month, steps)
        simulated.advance(month)
    report("truth", plan.months, steps)
    counts = simulated.finish()
    report("done", steps, steps)
    return counts


class _Book:
    """The state of a book while it is being simulated."""

    def __init__(self, plan: Plan, out: Path) -> None:
        self.plan, self.calendar = plan, Calendar(plan.first, plan.months)
        within, names = plan.opened_within or plan.months, plan.planted
        cases = make_cases(plan.seed, plan.loans, plan.months, names)
        landing, self.truth = out / "landing" / SOURCE, out / "truth"
        for folder in (landing, self.truth):
            folder.mkdir(parents=True)
        self.landing = Landing(landing)
        self.stress = macro_path(plan.seed, plan.months + HORIZON, plan.shock_month, steady=plan.steady)
        borrower = assign_borrowers(plan.seed, plan.loans)
        borrowers = make_borrowers(plan.seed, int(borrower.max()) + 1)
        loans = make_loans(plan.seed, borrower, borrowers, within)
        self.borrowers, of_borrowers = shift_borrowers(plan.seed, names, borrowers)
        self.loans, of_loans = shift_loans(plan.seed, names, loans, plan.months, within)
        self.cases, self.listed = cases, [*of_borrowers, *of_loans]
        _, self.is_first = np.unique(borrower, return_index=True)
        self.drift = drift_path(self.loans, self.stress, plan.drift_month)
        self.lots = draw_lots(plan.seed, self.loans, plan.deferral_month)
        self.ledger = Ledger(self.loans, plan.seed, self.stress, self.drift, self.lots)
        self.funding: Funding = draw_funding(plan.seed, self.loans)
        self.is_joint = np.zeros(plan.loans, dtype=np.bool_)
        self.is_joint[self.funding.loan] = True
        self.helper = draw_helpers(plan.seed, self.loans)
        self.exports = Exports(plan.seed, names, self.loans)
        self.states = np.full((plan.months, plan.loans), NOT_YET, dtype=np.int8)
        self.scheduled = self.stated = 0
        self.booked, planted = hold_cases(cases, self.landing, plan.seed, self.calendar)
        self.listed += planted

    def advance(self, month: int) -> None:
        """Simulate one month, and write its files."""
        plan, loans, ledger, calendar = self.plan, self.loans, self.ledger, self.calendar
        first, last = int(calendar.starts[month]), calendar.end(month)
        was_closed, was_default = ledger.state == CLOSED, ledger.state == DEFAULT
        arrears = ledger.arrears
        changed, deferred = ledger.restructure(month), ledger.defer(month)
        self.exports.restructured(changed, arrears)
        paid = ledger.advance(month)
        bookings = book(paid, loans, self.helper, month, plan.seed, calendar)
        bookings, delayed = delay(plan.seed, plan.planted, bookings, month)
        self.listed += delayed
        self.booked += len(bookings.loan)
        write_payments(self.landing, bookings, loans, last)
        client = client_bookings(bookings, self.is_joint, loans, month, plan.seed, calendar)
        self.landing.write_days("client_money", _days(client, "booked_on"), client, last)
        cases = [open_cases(paid, bookings, loans, month, plan.seed, calendar)]
        defaulted = np.flatnonzero((ledger.state == DEFAULT) & ~was_default)
        if "collections" in plan.planted:
            cases.append(collections(defaulted, loans, month, calendar))
            self.listed.append(noted("collections", loan_id=loans.number[defaulted], day=np.full(len(defaulted), last)))
        opened = pl.concat(cases).sort("opened_on", maintain_order=True)
        self.landing.write_days("cases", _days(opened, "opened_on"), opened, last)
        self._write_events(changed, deferred, month)
        made = ledger.close_statements(month)
        self.landing.write("statements", last, statement_rows(loans, made, last))
        self.stated += len(made.loan)
        settling = self._settled(paid, month)
        for day in range(first, last + 1):
            rows = [
                settling.filter(pl.col("valid_from") == pl.lit(day, pl.Int32).cast(pl.Date)),
                self._opened(day, month),
            ]
            if day == first:
                rows += [self._version(changed, month, month), self._version(deferred, month, month + HOLIDAY)]
            if day == last:
                rows.append(statement_schedules(loans, made, last, month, calendar))
            self.scheduled += sum(r.height for r in rows)
            self.landing.write("schedules", day, pl.concat(rows))
        self.landing.write_held(last)
        shown = (loans.opened_month <= month) & ~was_closed
        self.states[month, shown] = ledger.state[shown]

    def _opened(self, day: int, month: int) -> pl.DataFrame:
        """Write the files of the loans that are opened on a day, and return the first schedules of these loans.

        `month` is the month that contains `day`. If no loan is opened on the day, nothing is written and the result has
        no rows.
        """
        loans, landing = self.loans, self.landing
        since = day - int(self.calendar.starts[month])
        new = np.arange(*np.searchsorted(loans.opened_month * 31 + loans.opened_day, month * 31 + since + np.arange(2)))
        fresh = loans.borrower[new][self.is_first[loans.borrower[new]] == new]
        if len(new):
            landing.write("borrowers", day, borrower_rows(self.borrowers, fresh, day, self.borrowers.account))
            landing.write("attributes", day, attribute_rows(self.borrowers, fresh, day))
            landing.write("loans", day, loan_rows(loans, self.borrowers, new, day))
            landing.write("funding", day, funding_rows(self.funding, loans, new[0], new[-1] + 1, day))
        return opening_schedules(loans, new, day, self.calendar)

    def _version(self, changed: Rescheduled, month: int, first_month: int) -> pl.DataFrame:
        begins = int(self.calendar.starts[month])
        terms = (changed.principal, changed.annual_rate, changed.instalment, changed.term)
        return version(self.loans, changed.loan, *terms, begins, first_month, self.calendar)

    def _settled(self, paid: Paid, month: int) -> pl.DataFrame:
        loan = paid.loan[paid.principal > 0]
        settled = paid.principal > 0
        due_on = self.calendar.starts[month] + self.loans.due_day[loan] - 1
        return settlements(self.loans, loan, paid.principal[settled], paid.interest[settled], due_on)

    def _write_events(self, changed: Rescheduled, deferred: Rescheduled, month: int) -> None:
        first, last, number = int(self.calendar.starts[month]), self.calendar.end(month), self.loans.number
        begun = self.ledger.deferred_from
        begins = [
            event_rows(number[changed.loan], first, "restructured"),
            event_rows(number[deferred.loan], first, "deferral_start"),
        ]
        ends = [
            event_rows(number[self.ledger.written_off_now], last, "write_off"),
            event_rows(number[begun == month - HOLIDAY + 1], last, "deferral_end"),
        ]
        for day, rows in ((first, begins), (last, ends)):
            self.landing.write("events", day, pl.concat(rows))

    def finish(self) -> Counts:
        """Write the truth and return the size of the book.

        Before returning, plant the leakage traps and faults that change files already written.
        """
        plan, loans, ledger = self.plan, self.loans, self.ledger
        rows_of_truth = self._write_truth()
        ever = (self.states == DEFAULT).any(0)
        customer_no = self.borrowers.number[loans.borrower]
        self.listed += self.exports.write(self.landing.folder, ledger, ever, customer_no)
        listed = all_noted(self.listed)
        listed.write_parquet(self.truth / "planted.parquet")
        faults = (
            plant(plan.seed, self.landing.folder, self.truth / "dirt.parquet", redeliver=plan.redeliver)
            if plan.dirt
            else 0
        )
        return Counts(
            plan.loans,
            len(self.borrowers.number),
            self.scheduled,
            self.booked,
            self.stated,
            rows_of_truth,
            int(ever.sum()),
            listed.height,
            faults,
        )

    def _write_truth(self) -> int:
        """Write the files of the truth folder, and return the number of loan months.

        The lists of planted items and faults are not written here. The folder gets the loan months (in several files),
        one file with the hazard, write-off, payment holiday and planted fraud of each loan, and one file with the
        stress and the segment drift of each month.
        """
        loans, ledger, calendar, months = self.loans, self.ledger, self.calendar, self.truth / "loan_months"
        months.mkdir()
        count = 0
        parts = loan_months(
            loans.number,
            loans.hazard,
            loans.opened_month,
            ledger.instalments,
            self.states,
            self.stress,
            self.drift,
            in_segment(loans),
            self.lots,
            ledger.deferred_from,
            calendar,
        )
        for n, part in enumerate(parts):
            part.write_parquet(months / f"part-{n:04}.parquet")
            count += part.height
        deferred = np.where(ledger.deferred_from < NEVER, ledger.deferred_from, 0)
        extra = self.cases.loans.number
        chained = pl.DataFrame(
            {
                "loan_id": pl.Series(loans.number).cast(pl.String),
                "hazard": loans.hazard,
                "is_written_off": ledger.is_written_off,
                "deferred_from": pl.Series(calendar.starts[deferred].astype(np.int32)).cast(pl.Date),
                "planted": pl.Series([None], dtype=pl.String).new_from_index(0, len(loans.number)),
            }
        ).with_columns(pl.when(pl.Series(ledger.deferred_from < NEVER)).then("deferred_from"))
        planted = pl.DataFrame(
            {
                "loan_id": pl.Series(extra).cast(pl.String),
                "planted": pl.Series([FRAUD[k] for k in self.cases.kind.tolist()], dtype=pl.String),
            }
        )
        pl.concat([chained, planted], how="diagonal").write_parquet(self.truth / "loans.parquet")
        ends = pl.Series((calendar.starts[1 : len(self.stress) + 1] - 1).astype(np.int32)).cast(pl.Date)
        macro = pl.DataFrame({"month_on": ends, "stress": self.stress, "segment_drift": self.drift})
        macro.write_parquet(self.truth / "macro.parquet")
        return count


def _days(rows: pl.DataFrame, column: str) -> Ints:
    return rows[column].to_physical().to_numpy().astype(np.int64)
