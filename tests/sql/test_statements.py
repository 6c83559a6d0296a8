"""Tests that compare the loan months of statement sources with plain Python code, as they were known on each day.

Some statements come late and some are corrected.
"""

import datetime as dt
from dataclasses import dataclass, replace
from decimal import Decimal

import duckdb
import numpy as np
import pytest
import yaml

from dagster_project.home.settings import PROJECT_ROOT, Settings
from dagster_project.policy import load_policy
from dagster_project.warehouse.runner import run_dbt
from support.oracles.ledger import months_from
from support.raw_tables import lined, write_selection
from support.young_lender import POLICY

LAG, WRITE_OFF, OPENED, OPENING, INSTALMENT = 2, 100, dt.date(2020, 1, 5), 1_000, 100
MONTHS = months_from(OPENED, dt.date(2020, 12, 31))
IMPUTED = POLICY | {"feature_lag_days": LAG, "write_off_min": WRITE_OFF}
STATUS = {k: v for k, v in IMPUTED.items() if k != "write_off_min"} | {
    "arrears_basis": "status",
    "default_status_min": 3,
}


@dataclass(frozen=True)
class Statement:
    """One version of a monthly statement, with amounts in whole currency units.

    The version is known from `known_at` on. `until` is the date on which another version replaced it, or None if none
    did.
    """

    month_on: dt.date
    balance: int
    paid: int
    status: int
    known_at: dt.date
    until: dt.date | None = None


@dataclass(frozen=True)
class Loan:
    loan_id: str
    known_at: dt.date
    statements: tuple[Statement, ...]


def random_loan(number: int, random: np.random.Generator) -> Loan:
    balance, found = OPENING, []
    for month_on in MONTHS:
        if random.random() < 0.05:
            continue  # it never comes
        paid = int(random.choice([INSTALMENT, INSTALMENT, 0, 50, 200]))
        balance = 0 if random.random() < 0.02 else max(balance - paid, 0)
        late = random.random() < 0.08
        known_at = month_on + dt.timedelta(days=int(random.integers(3, 100) if late else random.integers(0, LAG + 1)))
        newest = Statement(month_on, balance, paid, int(random.integers(0, 4)), known_at)
        while random.random() < 0.1:
            known_at = newest.known_at + dt.timedelta(days=int(random.choice([0, 1, 20, 70])))
            found.append(replace(newest, until=known_at))
            newest = replace(newest, paid=newest.paid + 30, balance=newest.balance + 10, known_at=known_at, until=None)
        found.append(newest)
    return Loan(f"L{number}", OPENED + dt.timedelta(days=int(random.choice([0, 0, 0, 60]))), tuple(found))


def months_known_by(loan: Loan, by: dt.date) -> dict[dt.date, tuple]:
    """Return the figures of each month of a loan, as they are known on the day `by`.

    The result maps the month-end to days past due, amount due, amount paid, balance, and whether the loan was written
    off. A month whose statement is not known yet has no entry.
    """
    visible = {
        s.month_on: s for s in loan.statements
        if max(s.known_at, loan.known_at) <= by and (s.until is None or max(s.until, loan.known_at) > by)
    }  # fmt: skip
    months, dues, previous, due, paid, is_off = {}, [], OPENING, 0, 0, False
    for month_on, s in sorted(visible.items()):
        owed = min(max(previous, 0), INSTALMENT)
        is_off = is_off or (s.balance == 0 and previous - s.paid > WRITE_OFF)
        due, paid, previous = due + owed, paid + s.paid, s.balance
        dues.append((month_on, due))
        unpaid = [m for m, so_far in dues if so_far > paid]
        months[month_on] = ((month_on - unpaid[0]).days if unpaid else 0, owed, s.paid, s.balance, is_off)
    return months


@pytest.fixture(scope="module")
def book() -> list[Loan]:
    random = np.random.default_rng(3)
    return [random_loan(n, random) for n in range(400)]


@pytest.fixture(scope="module")
def rows(book, tmp_path_factory) -> dict[tuple[str, str, dt.date], list[tuple]]:
    """Return the versions of each loan month that dbt built, by source, loan ID and month-end.

    Each version is a tuple: the date from which it is known, the date on which it was superseded, days past due, due,
    paid, balance, and whether the loan is in default. The versions are in order of their dates, and the date on which
    the last one was superseded is None.
    """
    home = tmp_path_factory.mktemp("statements")
    policy = yaml.safe_load((PROJECT_ROOT / "policy/default.yaml").read_text())
    policy["sources"] = {"imputed": IMPUTED, "status": STATUS}
    (home / "policy.yaml").write_text(yaml.safe_dump(policy, sort_keys=False))
    settings = Settings(home=home, policy=home / "policy.yaml")
    lineage = {"source": "", "delivery_id": "0" * 16, "ingested_at": dt.datetime(2026, 1, 1)}
    loans, statements = [], []
    for loan in book:
        what = {"loan_id": loan.loan_id, "borrower_id": loan.loan_id, "product": "loan", "currency": "EUR"}
        terms = {"opened_on": OPENED, "opening_balance": Decimal(OPENING), "instalment": Decimal(INSTALMENT)}
        loans.append(what | terms | {"event_on": OPENED, "known_at": loan.known_at})
        for s in loan.statements:
            amounts = {"balance": Decimal(s.balance), "paid": Decimal(s.paid), "principal": Decimal(s.paid)}
            when = {"month_on": s.month_on, "event_on": s.month_on, "known_at": s.known_at, "until": s.until}
            statements.append(when | amounts | {"loan_id": loan.loan_id, "status_code": s.status})
    tables = lined({"loans": loans, "statements": statements}, lineage)
    for source in policy["sources"]:
        write_selection(tables, settings.selection, source)
    build = ["run", "--select", "+fct_loan_months"]
    done = run_dbt(settings, load_policy(settings.policy), build, quiet=True)
    assert done.returncode == 0, done.stdout[-3000:]
    found: dict = {}
    columns = "known_on, superseded_on, dpd_end, due::int, paid::int, balance::int, is_default"
    with duckdb.connect(str(settings.warehouse_file), read_only=True) as db:
        query = f"select source, loan_id, month_on, {columns} from intermediate.int_loan_months order by all"
        for source, loan_id, month_on, *version in db.execute(query).fetchall():
            found.setdefault((source, loan_id, month_on), []).append(tuple(version))
    return found


def test_imputed_months_are_on_each_day_what_was_known_then(book, rows):
    """The versions of a month follow one another without a gap, and each is correct on its first and its last day.

    The newest version has no last day, so it is compared with what is known once all statements have arrived.
    """
    versions = 0
    for loan in book:
        known_on = sorted({max(s.known_at, loan.known_at) for s in loan.statements})
        now = months_known_by(loan, dt.date.max)
        assert {m for source, n, m in rows if (source, n) == ("imputed", loan.loan_id)} == set(now)
        for month_on in now:
            found = rows["imputed", loan.loan_id, month_on]
            assert found[0][0] == min(day for day in known_on if month_on in months_known_by(loan, day))
            assert [until for _, until, *_ in found] == [*(known_at for known_at, *_ in found[1:]), None]
            for known_at, until, *figures in found:
                last = until - dt.timedelta(days=1) if until else dt.date.max
                for day in (known_at, last):
                    assert months_known_by(loan, day)[month_on] == tuple(figures), (loan, month_on)
            versions += len(found) - 1
    assert versions > 500, "months that were reported again"


def test_months_by_status_are_the_versions_of_their_statements(book, rows):
    for loan in book:
        for month_on in {s.month_on for s in loan.statements}:
            of_month = [s for s in loan.statements if s.month_on == month_on and s.until != s.known_at]
            expected = [(s.known_at, s.until, 30 * s.status, None, s.paid, s.balance, s.status >= 3) for s in of_month]
            assert rows["status", loan.loan_id, month_on] == expected
