"""From a seed to a folder: the order of work, month by month, each month written before the next begins."""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dagster_project.simulator.behaviour import CLOSED, DEFAULT
from dagster_project.simulator.bookings import book
from dagster_project.simulator.borrowers import make_borrowers
from dagster_project.simulator.clock import Calendar, Floats, Ints, as_date
from dagster_project.simulator.dirt import plant
from dagster_project.simulator.drift import drift_path, in_segment
from dagster_project.simulator.files import (
    opening_schedules,
    settlements,
    version,
    write_day,
    write_openings,
    write_payments,
)
from dagster_project.simulator.ledger import Ledger, Restructured
from dagster_project.simulator.macro import macro_path
from dagster_project.simulator.products import Loans, assign_borrowers, make_loans
from dagster_project.simulator.truth import HORIZON, NOT_YET, loan_months

SOURCE = "simulated"


@dataclass(frozen=True)
class Plan:
    """What is asked for. `opened_within`: loans are opened in the first so many months; None is all of them.

    `shock_month`: see `macro`; `drift_month`: from when the segment of `drift` rises; `dirt`: see `dirt`.
    """

    loans: int
    months: int
    seed: int
    first: dt.date = dt.date(2018, 1, 1)
    opened_within: int | None = None
    shock_month: int | None = None
    drift_month: int | None = None
    dirt: bool = False


@dataclass(frozen=True)
class Made:
    """What was made, in rows."""

    loans: int
    borrowers: int
    schedule_rows: int
    payment_rows: int
    loan_months: int
    loans_in_default: int
    planted_faults: int


def simulate(plan: Plan, out: Path, progress: Callable[[str, int, int], None] | None = None) -> Made:
    """Write the book to `out/landing/simulated` and its truth to `out/truth`.

    `progress` is told the step, and how many are done and in all.

    Raises:
        FileExistsError: `out` has a landing or truth folder already.
    """
    tell = progress or (lambda _step, _done, _total: None)
    landing, truth = out / "landing" / SOURCE, out / "truth"
    for folder in (landing, truth):
        folder.mkdir(parents=True)
    calendar = Calendar(plan.first, plan.months)
    stress = macro_path(plan.seed, plan.months + HORIZON, plan.shock_month)
    borrower = assign_borrowers(plan.seed, plan.loans)
    borrowers = make_borrowers(plan.seed, int(borrower.max()) + 1)
    loans = make_loans(plan.seed, borrower, borrowers, plan.opened_within or plan.months)
    _, is_first = np.unique(borrower, return_index=True)
    drift = drift_path(loans, stress, plan.drift_month)
    ledger = Ledger(loans, plan.seed, stress, drift)
    states = np.full((plan.months, plan.loans), NOT_YET, dtype=np.int8)
    scheduled = booked = 0
    steps = plan.months + 1
    for month in range(plan.months):
        tell(f"{as_date(int(calendar.starts[month])):%Y-%m}", month, steps)
        was_closed = ledger.state == CLOSED
        changed = ledger.restructure(month)
        paid = ledger.advance(month)
        bookings = book(paid, loans, month, plan.seed, calendar)
        write_payments(landing, bookings, loans)
        booked += len(bookings.loan)
        settled = paid.principal > 0
        due_on = calendar.starts[month] + loans.due_day[paid.loan[settled]] - 1
        settling = settlements(loans, paid.loan[settled], paid.principal[settled], paid.interest[settled], due_on)
        opened = np.flatnonzero(loans.opened_month == month)
        for day in range(calendar.days_in(month)):
            date = int(calendar.starts[month]) + day
            new = opened[loans.opened_day[opened] == day]
            rows = [settling.filter(pl.col("valid_from") == pl.lit(date, pl.Int32).cast(pl.Date))]
            if len(new):
                write_openings(landing, loans, borrowers, new, date, is_first)
                rows.append(opening_schedules(loans, new, date, calendar))
            if day == 0:
                rows.append(_restructured(changed, loans, date, month, calendar))
            scheduled += sum(r.height for r in rows)
            write_day(landing, "schedules", date, pl.concat(rows))
        shown = (loans.opened_month <= month) & ~was_closed
        states[month, shown] = ledger.state[shown]
    tell("truth", plan.months, steps)
    rows_of_truth = _write_truth(truth, loans, ledger, states, stress, drift, calendar)
    planted = plant(plan.seed, landing, truth / "dirt.parquet") if plan.dirt else 0
    tell("done", steps, steps)
    return Made(
        plan.loans,
        len(borrowers.number),
        scheduled,
        booked,
        rows_of_truth,
        int((states == DEFAULT).any(0).sum()),
        planted,
    )


def _restructured(changed: Restructured, loans: Loans, day: int, month: int, calendar: Calendar) -> pl.DataFrame:
    return version(loans, changed.loan, changed.principal, changed.instalment, changed.term, day, month, calendar)


def _write_truth(
    truth: Path,
    loans: Loans,
    ledger: Ledger,
    states: NDArray[np.int8],
    stress: Floats,
    drift: Floats,
    calendar: Calendar,
) -> int:
    """The truth folder: loan months (in parts), loans with their latent risk and end, and the macro path."""
    months = truth / "loan_months"
    months.mkdir()
    count = 0
    parts = loan_months(
        loans.number,
        loans.hazard,
        loans.opened_month,
        ledger.instalments,
        states,
        stress,
        drift,
        in_segment(loans),
        calendar,
    )
    for n, part in enumerate(parts):
        part.write_parquet(months / f"part-{n:04}.parquet")
        count += part.height
    pl.DataFrame(
        {
            "loan_id": pl.Series(loans.number).cast(pl.String),
            "hazard": loans.hazard,
            "is_written_off": ledger.is_written_off,
        }
    ).write_parquet(truth / "loans.parquet")
    ends = pl.Series(_month_ends(calendar, len(stress))).cast(pl.Date)
    pl.DataFrame({"month_on": ends, "stress": stress, "segment_drift": drift}).write_parquet(truth / "macro.parquet")
    return count


def _month_ends(calendar: Calendar, count: int) -> Ints:
    return (calendar.starts[1 : count + 1] - 1).astype(np.int32)
