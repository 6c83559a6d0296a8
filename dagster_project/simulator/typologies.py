"""Planted fraud and money laundering: additional loans and borrowers that follow a script instead of the hazard model.

The loans are opened in the first third of the book, except that a bust-out case opens further loans some months later.
All of them have schedules. Their instalments are paid by direct debit on the due day, unless the script stops these
payments. A script can also add payments. It gives each of them a day, an amount, a method and a payer. The day is
counted from the anchor day, which is a fixed number of days after the loan's opening. A negative amount is money that
is paid out to the payer.

The list of planted items contains every payment that a script adds. Some scripts add none, because the fraud is that
loans are not paid, or that borrowers share an account. The list then contains the loans and customers of the case. The
truth contains nothing about these loans except their kind of fraud.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from dagster_project.simulator.borrowers import FIRST_ACCOUNT, Borrowers, make_borrowers
from dagster_project.simulator.clock import Calendar, Ints, generator
from dagster_project.simulator.files import (
    Landing,
    attribute_rows,
    borrower_rows,
    loan_rows,
    opening_schedules,
    payment_rows,
)
from dagster_project.simulator.planted import FRAUD, PlanError, noted
from dagster_project.simulator.products import PRODUCTS, Loans
from dagster_project.simulator.schedules import annuity, instalments

LEAST_MONTHS = 18
ONE_IN = 2_000  # each kind has one case per this many loans of the book, but at least two cases
FIRST_LOAN, FIRST_CUSTOMER, FIRST_PAYER = 90_000_001, 90_000_001, 900_000_001

_DEBIT, _TRANSFER, _CASH = range(3)
_PRODUCT = next(n for n, p in enumerate(PRODUCTS) if p.name == "instalment_loan")
_RATE, _TERM, _DUE_DAY, _OPENED_DAY = 0.12, 24, 15, 9


@dataclass(frozen=True)
class Step:
    """A payment that a script adds.

    Attributes:
        day: The number of days after the anchor day.
        amount: The amount in cents or, with `of_loan`, as a share of the amount lent. It is negative for money paid
            out.
        method: The payment method.
        payer: 0 for the borrower. Other payers are numbered from 1 within each case.
        of_loan: Whether `amount` is a share of the amount lent.
        jitter: The amount varies randomly by up to this share, upwards or downwards.
    """

    day: int
    amount: float
    method: int = _TRANSFER
    payer: int = 0
    of_loan: bool = False
    jitter: float = 0.0


@dataclass(frozen=True)
class Script:
    """The loans of one kind of case, and how they are paid.

    Attributes:
        steps: The payments that are added for each loan.
        loans: The number of loans in a case.
        one_borrower: Whether all loans of a case have the same borrower. If so, only the first loan pays instalments.
        lent: The typical amount lent, in cents.
        pays: The number of instalments that are paid. None means all of them.
    """

    steps: tuple[Step, ...] = ()
    loans: int = 1
    one_borrower: bool = False
    lent: int = 1_000_000
    pays: int | None = None


_LARGE = 6_000_000
SCRIPTS: dict[str, Script] = {
    "A01_structuring": Script(tuple(Step(d, 900_000, _CASH, jitter=0.09) for d in (0, 2, 5)), lent=_LARGE),
    "A02_velocity": Script(tuple(Step(0, 90_000, jitter=0.2) for _ in range(8)), lent=_LARGE),
    "A03_round_amounts": Script(tuple(Step(d, 100_000) for d in (0, 7, 14, 21, 28)), lent=_LARGE),
    "A04_rapid_movement": Script((Step(0, 950_000, payer=1), Step(1, -900_000, payer=2)), lent=_LARGE),
    "A05_dormant_then_active": Script(
        (Step(0, 1.0, of_loan=True), *(Step(d, 200_000, jitter=0.3) for d in (210, 212, 214))), pays=0
    ),
    "A06_fan_in": Script(tuple(Step(p % 6, 40_000, payer=p, jitter=0.3) for p in range(1, 10)), lent=_LARGE),
    "A07_fan_out": Script(
        (Step(0, 600_000), *(Step(1 + p % 5, -60_000, payer=p, jitter=0.1) for p in range(1, 10))), lent=_LARGE
    ),
    "A09_early_payoff": Script((Step(0, 0.85, payer=1, of_loan=True),), pays=0),
    "A10_many_payers": Script(tuple(Step(20 * p, 45_000, payer=p, jitter=0.3) for p in range(1, 4))),
    "A10_one_payer": Script((Step(0, 45_000, payer=1, jitter=0.3),), loans=4),
    "A11_overpaid_and_refunded": Script((Step(0, 1.3, of_loan=True), Step(12, -0.3, payer=1, of_loan=True)), pays=0),
    "A12_bust_out": Script(loans=4, one_borrower=True, pays=6),
    "A13_first_payment_default": Script(pays=0),
    "A14_shared_identifiers": Script(loans=3),
}
_ANCHOR = 35  # days from the opening to the anchor day; a payoff within 60 days of the opening counts as early
_BUST_OUT_DAY = 200  # approximate days from the opening of the first loan to the opening of the case's further loans


@dataclass(frozen=True)
class Cases:
    """All planted loans and their borrowers.

    `kind` (an index in FRAUD) and `case` (the number of the case) have one entry per loan. `account` has the account
    number of each borrower.
    """

    loans: Loans
    borrowers: Borrowers
    kind: Ints
    case: Ints
    account: Ints  # by borrower


def make_cases(seed: int, loans: int, months: int, names: frozenset[str]) -> Cases:
    """Make the loans and borrowers of the fraud cases for the scripts in `names`.

    Each script gets one case per ONE_IN loans of the book, but at least two cases. `loans` and `months` are the size of
    the book. If `names` contains no script, the result has no loans.

    Raises:
        PlanError: If `names` contains a script and the book is shorter than LEAST_MONTHS months.
    """
    asked = [n for n, name in enumerate(FRAUD) if name in names]
    if asked and months < LEAST_MONTHS:
        raise PlanError(f"planted fraud needs {LEAST_MONTHS} months or more, to have time before and after it")
    each = max(2, loans // ONE_IN)
    sizes = np.array([SCRIPTS[FRAUD[k]].loans for k in asked for _ in range(each)], dtype=np.int64)
    kind = np.repeat(np.repeat(np.array(asked, dtype=np.int64), each), sizes)
    case = np.repeat(np.arange(len(sizes)), sizes)
    place = np.arange(len(case)) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # position of the loan in its case
    random = generator(seed, "typologies")
    first_month = random.integers(0, max(months // 3, 1), len(sizes))[case]
    is_further = (kind == FRAUD.index("A12_bust_out")) & (place > 0)
    first_month = np.minimum(first_month + np.where(is_further, _BUST_OUT_DAY // 28, 0), months - 2)
    one_borrower = np.array([SCRIPTS[name].one_borrower for name in FRAUD])[kind] & (place > 0)
    borrower = np.cumsum(~one_borrower) - 1
    lent = np.array([SCRIPTS[name].lent for name in FRAUD])[kind]
    amount = np.rint(lent * (0.8 + 0.4 * random.random(len(kind))) / 5_000).astype(np.int64) * 5_000
    people = make_borrowers(seed, int(borrower.max(initial=-1)) + 1, FIRST_CUSTOMER)
    count = len(kind)
    made = Loans(
        number=np.arange(len(kind)) + FIRST_LOAN,
        borrower=borrower,
        product=np.full(count, _PRODUCT),
        channel=random.integers(0, 3, len(kind)),
        opened_month=first_month,
        opened_day=np.where(is_further, _OPENED_DAY + 2 * place, _OPENED_DAY),
        due_day=np.full(count, _DUE_DAY),
        amount=amount,
        term=np.full(count, _TERM),
        annual_rate=np.full(count, _RATE),
        instalment=annuity(amount, np.full(count, _RATE), np.full(count, _TERM)),
        hazard=np.full(count, np.nan),
    )
    shares = np.zeros(len(people.number), dtype=np.bool_)
    shares[borrower[kind == FRAUD.index("A14_shared_identifiers")]] = True
    case_of = np.zeros(len(people.number), dtype=np.int64)
    case_of[borrower] = case
    account = FIRST_ACCOUNT + 100_000_000 + np.where(shares, case_of, len(sizes) + np.arange(len(shares)))
    return Cases(made, people, kind, case, account)


def hold_cases(cases: Cases, landing: Landing, seed: int, calendar: Calendar) -> tuple[int, list[pl.DataFrame]]:
    """Pass the rows of these cases to `landing`, which later writes them into the book's files.

    Payments after the end of the book are left out. Return the number of payments, and the rows for the list of planted
    items. Without cases, return 0 and an empty list.
    """
    loans, borrowers = cases.loans, cases.borrowers
    if not len(loans.number):
        return 0, []
    opened_on = calendar.starts[loans.opened_month] + loans.opened_day
    _, first = np.unique(loans.borrower, return_index=True)
    for day in np.unique(opened_on).tolist():
        new = np.flatnonzero(opened_on == day)
        fresh = loans.borrower[new[np.isin(new, first)]]
        landing.hold("loans", day, loan_rows(loans, borrowers, new, day))
        landing.hold("schedules", day, opening_schedules(loans, new, day, calendar))
        landing.hold("borrowers", day, borrower_rows(borrowers, fresh, day, cases.account))
        landing.hold("attributes", day, attribute_rows(borrowers, fresh, day))
    scripted = _scripted(cases, opened_on, seed)
    rows = pl.concat([scripted, _regular(cases, calendar)]).filter(pl.col("day") <= calendar.end(calendar.months - 1))
    rows = rows.sort("loan", "day", maintain_order=True).with_columns(
        number=(pl.col("loan") + FIRST_LOAN) * 10_000 + pl.int_range(pl.len()).over("loan")
    )
    days = rows.sort("day", "number").partition_by("day", as_dict=True)
    for (day,), part in days.items():
        columns = [part[name].to_numpy() for name in ("number", "day", "amount", "method", "payer")]
        landing.hold("payments", int(day), payment_rows(loans.number[part["loan"].to_numpy()], *columns))
    return rows.height, _listed(cases, rows.filter("is_planted"))


def _scripted(cases: Cases, opened_on: Ints, seed: int) -> pl.DataFrame:
    """Return the payments that the scripts add, with one row per payment."""
    random, parts = generator(seed, "typologies", 1), []
    for k, name in enumerate(FRAUD):
        loan = np.flatnonzero(cases.kind == k)
        for step in SCRIPTS[name].steps:
            amount = step.amount * (cases.loans.amount[loan] if step.of_loan else 1)
            varied = amount * (1 + step.jitter * (2 * random.random(len(loan)) - 1))
            payer = np.where(step.payer > 0, FIRST_PAYER + cases.case[loan] * 100 + step.payer, 0)
            parts.append(_payments(loan, opened_on[loan] + _ANCHOR + step.day, np.rint(varied), step.method, payer))
    return pl.concat(parts).with_columns(is_planted=True)


def _regular(cases: Cases, calendar: Calendar) -> pl.DataFrame:
    """Return the instalments that are paid, each by direct debit on its due day."""
    loans = cases.loans
    made = instalments(loans.amount, loans.annual_rate, loans.instalment, loans.term)
    pays = np.array([_TERM if (pays := SCRIPTS[name].pays) is None else pays for name in FRAUD])[cases.kind]
    is_further = np.array([SCRIPTS[name].one_borrower for name in FRAUD])[cases.kind]
    is_further &= np.append(False, loans.borrower[1:] == loans.borrower[:-1])
    paid = made.number <= np.where(is_further, 0, pays)[made.loan]
    loan, number = made.loan[paid], made.number[paid]
    due_on = calendar.starts[loans.opened_month[loan] + number] + _DUE_DAY - 1
    amount = (made.principal + made.interest)[paid]
    return _payments(loan, due_on, amount, _DEBIT, np.zeros_like(loan)).with_columns(is_planted=False)


def _payments(loan: Ints, day: Ints, amount: object, method: int, payer: Ints) -> pl.DataFrame:
    rows = pl.DataFrame({"loan": loan, "day": day, "amount": amount, "payer": payer})
    return rows.cast(pl.Int64).with_columns(pl.lit(method, dtype=pl.Int64).alias("method"))


def _listed(cases: Cases, scripted: pl.DataFrame) -> list[pl.DataFrame]:
    customer = cases.borrowers.number[cases.loans.borrower]
    loan, listed = scripted["loan"].to_numpy(), []
    for k, name in enumerate(FRAUD):
        mine = np.flatnonzero(cases.kind == k)
        hit = cases.kind[loan] == k
        if hit.any():
            about = {"loan_id": cases.loans.number[loan[hit]], "customer_no": customer[loan[hit]]}
            rows = scripted.filter(pl.Series(hit))
            listed.append(noted(name, **about, day=rows["day"].to_numpy(), payment_id=rows["number"].to_numpy()))
        elif len(mine):
            listed.append(noted(name, loan_id=cases.loans.number[mine], customer_no=customer[mine]))
    return listed
