"""Cases: disputes of bookings, complaints, and collections of defaulted loans.

Only double bookings are disputed. Complaints are rare, and more frequent from borrowers with two or more unpaid
instalments.
"""

import numpy as np
import polars as pl

from dagster_project.simulator.bookings import DOUBLE, Bookings
from dagster_project.simulator.clock import Calendar, Ints, generator
from dagster_project.simulator.ledger import Paid
from dagster_project.simulator.products import Loans

DISPUTES, COMPLAINTS, COMPLAINTS_IN_ARREARS = 0.3, 0.0003, 0.004
KINDS = ("dispute", "complaint", "collection")
_DISPUTE, _COMPLAINT, _COLLECTION = range(3)


def open_cases(paid: Paid, bookings: Bookings, loans: Loans, month: int, seed: int, calendar: Calendar) -> pl.DataFrame:
    """Return the disputes and complaints of a month as rows of the cases file.

    Some double bookings are disputed, and some borrowers complain.
    """
    random = generator(seed, "cases", month)
    twice = np.flatnonzero(bookings.number % 10 == DOUBLE[0])
    disputed = twice[random.random(len(twice)) < DISPUTES]
    disputed_on = np.minimum(bookings.day[disputed] + 1, calendar.end(month))
    chance = np.where(paid.behind >= 2, COMPLAINTS_IN_ARREARS, COMPLAINTS)
    complaints = paid.loan[random.random(len(paid.loan)) < chance]
    complained_on = calendar.starts[month] + random.integers(0, calendar.days_in(month), len(complaints))
    return pl.concat(
        [
            case_rows(loans.number[bookings.loan[disputed]], disputed_on, _DISPUTE, month),
            case_rows(loans.number[complaints], complained_on, _COMPLAINT, month),
        ]
    )


def collections(defaulted: Ints, loans: Loans, month: int, calendar: Calendar) -> pl.DataFrame:
    """Return rows of the cases file with one collection case per loan in `defaulted`.

    `defaulted` has the indexes of the loans whose default starts in the month. The cases are opened on the last day of
    the month.
    """
    return case_rows(loans.number[defaulted], np.full(len(defaulted), calendar.end(month)), _COLLECTION, month)


def case_rows(loan_no: Ints, opened_on: Ints, kind: int, month: int) -> pl.DataFrame:
    """Return rows of the cases file, with one case of the same kind for each entry of `loan_no`.

    `opened_on` has days counted from 1970-01-01. `kind` is an index in KINDS.
    """
    return pl.DataFrame(
        {
            "case_no": (loan_no * 1_000 + month) * 10 + kind,
            "loan_no": loan_no,
            "opened_on": pl.Series(opened_on.astype(np.int32)).cast(pl.Date),
            "kind": pl.Series([KINDS[kind]], dtype=pl.Enum(KINDS)).new_from_index(0, len(loan_no)),
        }
    ).sort("opened_on", "case_no")
