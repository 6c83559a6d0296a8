"""The CSV files that the simulated platform delivers, with one file per table and day: `<table>-<YYYY-MM-DD>.csv`.

If a table has no new rows on a day, there is no file. Amounts of money are written with two decimals. The source's
contract states which columns identify persons.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from dagster_project.simulator.bookings import METHODS, Bookings
from dagster_project.simulator.borrowers import Borrowers
from dagster_project.simulator.cards import Statements
from dagster_project.simulator.clock import Calendar, Floats, Ints, as_date
from dagster_project.simulator.funding import Funding
from dagster_project.simulator.products import CHANNELS, PRODUCTS, Loans
from dagster_project.simulator.schedules import instalments

CURRENCY = "EUR"
_NAMES = ("Adler", "Bauer", "Conti", "Dubois", "Evans", "Ferrari", "Garcia", "Horvat", "Ivanov", "Jansen")
_FIRST = ("Ada", "Ben", "Cleo", "Dina", "Egon", "Fee", "Gil", "Hana", "Ida", "Jon", "Kim")


class Landing:
    """The folder into which the simulated platform delivers its files.

    Rows for the file of a later day are kept in memory until that file is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._held: dict[tuple[int, str], list[pl.DataFrame]] = {}

    def hold(self, table: str, day: int, rows: pl.DataFrame) -> None:
        """Keep rows in memory until the table's file of the given day is written."""
        if rows.height:
            self._held.setdefault((day, table), []).append(rows)

    def write(self, table: str, day: int, rows: pl.DataFrame) -> None:
        """Write a table's file of the given day, including the rows that were kept for it.

        If there are no rows at all, no file is written.
        """
        rows = pl.concat([rows, *self._held.pop((day, table), [])])
        if rows.height:
            rows.write_csv(self.folder / f"{table}-{as_date(day)}.csv", float_precision=2)

    def write_days(self, table: str, day: Ints, rows: pl.DataFrame, until: int) -> None:
        """Write rows to one file per day, and keep the rows of days after `until` in memory.

        `day` has the day of each row. Rows must be sorted by day.
        """
        days, begins = np.unique(day, return_index=True)
        for one, begin, end in zip(days.tolist(), begins, np.append(begins, len(day))[1:], strict=True):
            put = self.write if one <= until else self.hold
            put(table, one, rows[int(begin) : int(end)])

    def write_held(self, until: int) -> None:
        """Write the files of days up to `until` for which only rows in memory exist."""
        for day, table in sorted(key for key in self._held if key[0] <= until):
            first, *rest = self._held.pop((day, table))
            self._held[(day, table)] = rest
            self.write(table, day, first)


def borrower_rows(borrowers: Borrowers, who: Ints, day: int, account: Ints) -> pl.DataFrame:
    """Return the rows of the borrowers file for customers who are new on a day.

    `who` has the indexes of these customers in `borrowers`. `account` has the account numbers of all borrowers.
    """
    people = pl.DataFrame(
        {
            "customer_no": borrowers.number[who],
            "account_no": account[who],
            "reported_on": _days(day, len(who)),
            "income": _money(borrowers.income[who]),
            "tenure_months": borrowers.tenure_months[who],
            "region": borrowers.region[who],
        }
    ).with_columns(
        # A name is a word from each of two lists and the customer's number, so it is not a real person's name.
        pl.concat_str(
            pl.Series(np.array(_FIRST)[who % len(_FIRST)], dtype=pl.String),
            pl.Series(np.array(_NAMES)[who % len(_NAMES)], dtype=pl.String),
            pl.col("customer_no"),
            separator=" ",
        ).alias("name")
    )
    return people.select("customer_no", "name", pl.exclude("customer_no", "name"))


def attribute_rows(borrowers: Borrowers, who: Ints, day: int) -> pl.DataFrame:
    """Return the rows of the attributes file (protected attributes) for customers who are new on a day.

    `who` has the indexes of these customers in `borrowers`.
    """
    about = {"customer_no": borrowers.number[who], "reported_on": _days(day, len(who))}
    return pl.DataFrame(about | {"sex": borrowers.sex[who], "age": borrowers.age[who]})


def loan_rows(loans: Loans, borrowers: Borrowers, new: Ints, day: int) -> pl.DataFrame:
    """Return the rows of the loans file for the loans that are opened on a day.

    `new` has the indexes of these loans. A card has a limit, but no amount, term or instalment. All other loans have no
    limit.
    """
    is_card = pl.Series(loans.is_card[new])
    return pl.DataFrame(
        {
            "loan_no": loans.number[new],
            "customer_no": borrowers.number[loans.borrower[new]],
            "product": _named([p.name for p in PRODUCTS], loans.product[new]),
            "channel": _named([name for name, _ in CHANNELS], loans.channel[new]),
            "opened_on": _days(day, len(new)),
            "amount": _money(loans.amount[new]).set(is_card, None),
            "limit": _money(loans.amount[new]).set(~is_card, None),
            "term_months": pl.Series(loans.term[new]).set(is_card, None),
            "annual_rate": [f"{rate:.4f}" for rate in loans.annual_rate[new].tolist()],
            "instalment": _money(loans.instalment[new]).set(is_card, None),
            "currency": _same(CURRENCY, len(new)),
            "status": _same(None, len(new)),
        }
    )


def funding_rows(funding: Funding, loans: Loans, first: int, last: int, day: int) -> pl.DataFrame:
    """Return the rows of the funding file for the loans with the indexes `first` to `last - 1`.

    Only joint loans have rows.
    """
    mine = slice(*np.searchsorted(funding.loan, (first, last)))
    loan = funding.loan[mine]
    return pl.DataFrame(
        {
            "loan_no": loans.number[loan],
            "partner": _named(funding.names, funding.partner[mine]),
            "funded_on": _days(day, len(loan)),
            "share": pl.Series(funding.percent[mine]) / 100,
        }
    )


def event_rows(loan_no: Ints, day: int, kind: str) -> pl.DataFrame:
    """Return rows of the events file that record the same event on the same day for each of these loans."""
    return pl.DataFrame({"loan_no": loan_no, "event_on": _days(day, len(loan_no)), "kind": _same(kind, len(loan_no))})


def opening_schedules(loans: Loans, new: Ints, day: int, calendar: Calendar) -> pl.DataFrame:
    """Return the first version of these loans' schedules.

    The version is valid from `day`, the day of the opening. Its first instalment is due in the month after the opening.
    Cards are left out, because their statements serve as their schedules.
    """
    new = new[~loans.is_card[new]]
    first_month = loans.opened_month[new] + 1
    terms = (loans.amount[new], loans.annual_rate[new], loans.instalment[new], loans.term[new])
    return version(loans, new, *terms, day, first_month, calendar)


def version(
    loans: Loans,
    loan: Ints,
    principal: Ints,
    annual_rate: Floats,
    instalment: Ints,
    term: Ints,
    valid_from: int,
    first_month: Ints | int,
    calendar: Calendar,
) -> pl.DataFrame:
    """Return one version of the schedules of the loans with the indexes `loan`.

    The version is valid from the day `valid_from`. It has one instalment per month, starting in `first_month`.
    """
    made = instalments(principal, annual_rate, instalment, term)
    month = np.broadcast_to(first_month, loan.shape)[made.loan] + made.number - 1
    due_on = calendar.starts[month] + loans.due_day[loan][made.loan] - 1
    number = loans.number[loan][made.loan]
    return _schedule(number, np.full(len(number), valid_from), made.number, due_on, made.principal, made.interest)


def settlements(loans: Loans, loan: Ints, principal: Ints, interest: Ints, due_on: Ints) -> pl.DataFrame:
    """Return new versions of schedules for loans that prepaid.

    Each version has a single instalment, which is due on the day of the payment. It consists of the remaining principal
    and the month's interest. A card payment above the minimum also becomes such a version. Its amount includes the
    minimum.
    """
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


def statement_schedules(loans: Loans, made: Statements, day: int, month: int, calendar: Calendar) -> pl.DataFrame:
    """Return the statements of a month-end as new versions of the cards' schedules.

    In each version, the minimum is due in the next month and the rest in the month after that. The rest never falls
    due, because the next statement replaces this version. It is included so that the version contains the whole debt
    except arrears. Amounts of 0 get no row.
    """
    loan, amount = np.repeat(made.loan, 2), np.stack([made.minimum, made.rest], axis=1).reshape(-1)
    number = np.tile([1, 2], len(made.loan))
    due_on = calendar.starts[month + number] + loans.due_day[loan] - 1
    owed = amount > 0
    loan, number, due_on, amount = loan[owed], number[owed], due_on[owed], amount[owed]
    since = np.full(len(loan), day)
    return _schedule(loans.number[loan], since, number, due_on, amount, np.zeros_like(amount))


def statement_rows(loans: Loans, made: Statements, day: int) -> pl.DataFrame:
    """Return the rows of the statements file of a month-end."""
    return pl.DataFrame(
        {
            "loan_no": loans.number[made.loan],
            "month_on": _days(day, len(made.loan)),
            "balance": _money(made.balance),
            "limit": _money(made.limit),
            "purchases": _money(made.purchases),
            "due": _money(made.due),
            "paid": _money(made.paid),
        }
    )


def payment_rows(
    loan_no: Ints, number: Ints, day: Ints, amount: Ints, method: Ints, payer: Ints, known_on: Ints | None = None
) -> pl.DataFrame:
    """Return the rows of the payments file for these bookings.

    `method` is an index in METHODS. `payer` is 0 if the borrower pays; the field in the file is then empty. `known_on`
    is the day of the file that contains the booking. If it is None, this is the day of the payment.
    """
    rows = pl.DataFrame(
        {
            "payment_no": number,
            "loan_no": loan_no,
            "paid_on": day.astype(np.int32),
            "amount": _money(amount),
            "currency": _same(CURRENCY, len(number)),
            "method": _named(METHODS, method),
            "payer_no": payer,
            "booked_on": (day if known_on is None else known_on).astype(np.int32),
        }
    )
    return rows.with_columns(
        pl.col("paid_on", "booked_on").cast(pl.Date),
        pl.when(pl.col("payer_no") > 0).then("payer_no"),
    )


def write_payments(landing: Landing, bookings: Bookings, loans: Loans, until: int) -> None:
    """Write the bookings of a month to one payments file per day.

    Bookings for files of days after `until` are kept in memory.
    """
    order = np.argsort(bookings.known_on, kind="stable")
    known_on = bookings.known_on[order]
    rows = payment_rows(
        loans.number[bookings.loan[order]],
        bookings.number[order],
        bookings.day[order],
        bookings.amount[order],
        bookings.method[order],
        bookings.payer[order],
        known_on,
    )
    landing.write_days("payments", known_on, rows, until)


def _named(names: Sequence[str], places: Ints) -> pl.Series:
    kinds = pl.Enum(names)
    return pl.Series(places.astype(np.uint32)).replace_strict(dict(enumerate(names)), return_dtype=kinds)


def _same(value: str | None, count: int) -> pl.Series:
    return pl.Series([value], dtype=pl.String).new_from_index(0, count)


def _money(cents: Ints) -> pl.Series:
    """Convert cents to currency units.

    Floats are precise enough here: written with two decimals, they give every cent exactly.
    """
    return pl.Series(cents / 100)


def _days(day: int, count: int) -> pl.Series:
    return pl.Series([as_date(day)], dtype=pl.Date).new_from_index(0, count)
