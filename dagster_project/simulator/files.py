"""What the platform drops: one CSV file a table and day, `<table>-<YYYY-MM-DD>.csv`, and no file where nothing is new.

Money is text with two decimals. Numbers and names of customers are identifiers, and the contract says so.
"""

from pathlib import Path

import numpy as np
import polars as pl

from dagster_project.simulator.bookings import Bookings
from dagster_project.simulator.borrowers import Borrowers
from dagster_project.simulator.clock import Calendar, Ints, as_date
from dagster_project.simulator.products import PRODUCTS, Loans
from dagster_project.simulator.schedules import instalments

CURRENCY = "EUR"
_NAMES = ("Adler", "Bauer", "Conti", "Dubois", "Evans", "Ferrari", "Garcia", "Horvat", "Ivanov", "Jansen")
_FIRST = ("Ada", "Ben", "Cleo", "Dina", "Egon", "Fee", "Gil", "Hana", "Ida", "Jon", "Kim")


def write_day(folder: Path, table: str, day: int, rows: pl.DataFrame) -> None:
    """Write one table's file of a day, if there is anything to write."""
    if rows.height:
        rows.write_csv(folder / f"{table}-{as_date(day)}.csv", float_precision=2)


def write_openings(folder: Path, loans: Loans, borrowers: Borrowers, new: Ints, day: int, is_first: Ints) -> None:
    """Loans opened on a day, and the borrowers who are new with them. `is_first`: the borrower's first loan."""
    customer = loans.borrower[new]
    fresh = customer[is_first[customer] == new]
    about = {"customer_no": borrowers.number[fresh], "reported_on": _days(day, len(fresh))}
    people = pl.DataFrame(
        about
        | {
            "income": _money(borrowers.income[fresh]),
            "tenure_months": borrowers.tenure_months[fresh],
            "region": borrowers.region[fresh],
        }
    ).with_columns(
        # A name is no more than a place in two lists and the number: nobody's.
        pl.concat_str(
            pl.Series(np.array(_FIRST)[fresh % len(_FIRST)]),
            pl.Series(np.array(_NAMES)[fresh % len(_NAMES)]),
            pl.col("customer_no"),
            separator=" ",
        ).alias("name")
    )
    write_day(folder, "borrowers", day, people.select("customer_no", "name", pl.exclude("customer_no", "name")))
    kept_apart = pl.DataFrame(about | {"sex": borrowers.sex[fresh], "age": borrowers.age[fresh]})
    write_day(folder, "attributes", day, kept_apart)
    lent = pl.DataFrame(
        {
            "loan_no": loans.number[new],
            "customer_no": borrowers.number[customer],
            "product": np.array([p.name for p in PRODUCTS])[loans.product[new]],
            "opened_on": _days(day, len(new)),
            "amount": _money(loans.amount[new]),
            "term_months": loans.term[new],
            "annual_rate": [f"{rate:.4f}" for rate in loans.annual_rate[new].tolist()],
            "instalment": _money(loans.instalment[new]),
            "currency": np.full(len(new), CURRENCY),
        }
    )
    write_day(folder, "loans", day, lent)


def opening_schedules(loans: Loans, new: Ints, day: int, calendar: Calendar) -> pl.DataFrame:
    """The first version of these loans' schedules, from the opening on; due from the month after it on."""
    first_month = loans.opened_month[new] + 1
    return version(loans, new, loans.amount[new], loans.instalment[new], loans.term[new], day, first_month, calendar)


def version(
    loans: Loans,
    loan: Ints,
    principal: Ints,
    instalment: Ints,
    term: Ints,
    valid_from: int,
    first_month: Ints | int,
    calendar: Calendar,
) -> pl.DataFrame:
    """One version of these loans' schedules, with an instalment a month from `first_month` on."""
    made = instalments(principal, loans.annual_rate[loan], instalment, term)
    month = np.broadcast_to(first_month, loan.shape)[made.loan] + made.number - 1
    due_on = calendar.starts[month] + loans.due_day[loan][made.loan] - 1
    number = loans.number[loan][made.loan]
    return _schedule(number, np.full(len(number), valid_from), made.number, due_on, made.principal, made.interest)


def settlements(loans: Loans, loan: Ints, principal: Ints, interest: Ints, due_on: Ints) -> pl.DataFrame:
    """Prepayment as a new version: all that is left, and the month's interest, due on the day on which it is paid."""
    return _schedule(loans.number[loan], due_on, np.ones_like(loan), due_on, principal, interest)


def _schedule(
    number: Ints, valid_from: Ints, instalment_no: Ints, due_on: Ints, principal: Ints, interest: Ints
) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "loan_no": number,
            "valid_from": valid_from.astype(np.int32),
            "instalment_no": instalment_no,
            "due_on": due_on.astype(np.int32),
            "amount": _money(principal + interest),
            "principal": _money(principal),
            "interest": _money(interest),
        }
    ).with_columns(pl.col("valid_from", "due_on").cast(pl.Date))


def write_payments(folder: Path, bookings: Bookings, loans: Loans) -> None:
    """The bookings of a month, a file a day."""
    rows = pl.DataFrame(
        {
            "payment_no": bookings.number,
            "loan_no": loans.number[bookings.loan],
            "paid_on": bookings.day.astype(np.int32),
            "amount": _money(bookings.amount),
        }
    ).with_columns(pl.col("paid_on").cast(pl.Date), pl.lit(CURRENCY).alias("currency"))
    days, begins = np.unique(bookings.day, return_index=True)
    for day, begin, end in zip(days, begins, np.append(begins, rows.height)[1:], strict=True):
        write_day(folder, "payments", int(day), rows[int(begin) : int(end)])


def _money(cents: Ints) -> pl.Series:
    """Cents as amounts; a float holds them exactly, and is written with two decimals."""
    return pl.Series(cents / 100)


def _days(day: int, count: int) -> pl.Series:
    return pl.Series([as_date(day)], dtype=pl.Date).new_from_index(0, count)
