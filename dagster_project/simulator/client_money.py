"""The account that holds the money of jointly funded loans until it is allocated or refunded.

On each day, the amount received is the amount allocated, plus the amount refunded, plus the change of the unallocated
balance. The payments of borrowers arrive as one sum per day and payment method. Each payment is allocated to its loan,
either on the same day or a few days later.

If a direct debit is returned, its allocation is reversed and the amount is refunded. A mistaken transfer is refunded
and never allocated. A payment that was booked twice by mistake moves no additional money.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dagster_project.simulator.bookings import DOUBLE, METHODS, Bookings
from dagster_project.simulator.clock import Calendar, Floats, Ints, generator
from dagster_project.simulator.products import Loans

KINDS = ("received", "allocated", "refunded")
_RECEIVED, _ALLOCATED, _REFUNDED = range(3)
UNCLEAR, STRAYS = 0.02, 2  # share of payments that are allocated later; number of mistaken transfers per month
_MOST_DAYS = 4


def client_bookings(
    bookings: Bookings, is_joint: NDArray[np.bool_], loans: Loans, month: int, seed: int, calendar: Calendar
) -> pl.DataFrame:
    """Return the bookings of the account for the payments of one month, sorted by day.

    `is_joint` states for each loan whether it is jointly funded. Some allocations and refunds are dated in the first
    days of the next month.
    """
    random = generator(seed, "client_money", month)
    mine = np.flatnonzero(is_joint[bookings.loan] & ~np.isin(bookings.number % 10, DOUBLE))
    day, amount, number = bookings.day[mine], bookings.amount[mine], bookings.number[mine]
    loan, method = loans.number[bookings.loan[mine]], bookings.method[mine]
    comes, goes = amount > 0, amount < 0
    is_unclear = random.random(len(mine)) < UNCLEAR
    later = is_unclear * random.integers(1, _MOST_DAYS + 1, len(mine))

    sums, where = np.unique(day[comes] * len(METHODS) + method[comes], return_inverse=True)
    received = np.bincount(where, amount[comes], minlength=len(sums)).astype(np.int64)
    stray_day = calendar.starts[month] + random.integers(0, calendar.days_in(month), STRAYS)
    stray, place = random.integers(1_000, 200_000, STRAYS), np.arange(STRAYS)
    returned_on = stray_day + random.integers(1, _MOST_DAYS + 1, STRAYS)
    nobody = np.zeros(max(len(sums), STRAYS), dtype=np.int64)
    parts = (
        (sums // len(METHODS), _RECEIVED, sums * 10, nobody[: len(sums)], received),
        (stray_day, _RECEIVED, (stray_day * len(METHODS) + place) * 10 + 1, nobody[:STRAYS], stray),
        (day[comes] + later[comes], _ALLOCATED, number[comes] * 10, loan[comes], amount[comes]),
        (day[goes], _ALLOCATED, number[goes] * 10, loan[goes], amount[goes]),
        (day[goes], _REFUNDED, number[goes] * 10 + 1, loan[goes], -amount[goes]),
        (returned_on, _REFUNDED, (stray_day * len(METHODS) + place) * 10 + 2, nobody[:STRAYS], stray),
    )
    return _frame(*(np.concatenate([np.broadcast_to(p[n], p[0].shape) for p in parts]) for n in range(5)))


def _frame(day: Ints, kind: Ints, number: Ints, loan: Ints, amount: Ints) -> pl.DataFrame:
    cents: Floats = amount / 100
    rows = pl.DataFrame(
        {"booking_no": number, "booked_on": day.astype(np.int32), "kind": kind, "loan_no": loan, "amount": cents}
    )
    return rows.sort("booked_on", "kind", "booking_no").with_columns(
        pl.col("booked_on").cast(pl.Date),
        pl.col("kind").cast(pl.UInt32).replace_strict(dict(enumerate(KINDS)), return_dtype=pl.Enum(KINDS)),
        pl.when(pl.col("loan_no") > 0).then("loan_no"),
    )
