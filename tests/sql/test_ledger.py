"""Tests that compare the ledger in SQL with a plain ledger that goes through every day.

They also check that features do not use what became known later. One run of dbt builds the same random book several
times: once with all rows as the source `whole`, and once for each cut date as a source that has only the rows known
`LAG` days after that date.
"""

import datetime as dt
from collections import Counter
from decimal import Decimal
from pathlib import Path

import duckdb
import polars as pl
import pytest
import yaml

from dagster_project.home.settings import PROJECT_ROOT, Settings
from dagster_project.policy import load_policy
from dagster_project.warehouse.runner import run_dbt
from support.oracles.ledger import LAG, DayByDay, knowledge, month_end, months_from, reported, visible
from support.random_books import random_book, with_events
from support.raw_tables import raw_tables, write_selection

LOANS = 2_000
CUTS = [dt.date(2020, 3, 31), dt.date(2020, 6, 30), dt.date(2020, 9, 30), dt.date(2020, 12, 31), dt.date(2021, 2, 28)]
LENDER = {
    "arrears_basis": "ledger",
    "feature_lag_days": LAG,
    "label_horizon_months": 3,
    "observe_from_month": 1,
    "default_dpd_min": 60,
    "default_arrears_min": 60,
    "score_anchor": {"score": 600, "odds": 20},
}


@pytest.fixture(scope="module")
def book():
    return with_events(random_book(seed=11, loans=LOANS), seed=12)


@pytest.fixture(scope="module")
def home(book, tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("ledger") / "home"
    policy = yaml.safe_load((PROJECT_ROOT / "policy/default.yaml").read_text())
    policy["sources"] = dict.fromkeys(("whole", *(f"cut_{cut:%Y%m}" for cut in CUTS)), LENDER)
    home.mkdir()
    (home / "policy.yaml").write_text(yaml.safe_dump(policy, sort_keys=False))
    settings = Settings(home=home, policy=home / "policy.yaml")
    tables = raw_tables(book, "whole")
    write_selection(tables, settings.selection, "whole")
    for cut in CUTS:
        until_cut = {name: t.filter(pl.col("known_at") <= cut + dt.timedelta(days=LAG)) for name, t in tables.items()}
        write_selection(until_cut, settings.selection, f"cut_{cut:%Y%m}")
    build = ["build", "--exclude-resource-type", "unit_test"]
    done = run_dbt(settings, load_policy(settings.policy), build, quiet=True, loans_per_batch=300)
    assert done.returncode == 0, done.stdout[-3000:]
    return home


def query(home: Path, sql: str) -> pl.DataFrame:
    with duckdb.connect(str(home / "warehouse/creditloom.duckdb"), read_only=True) as db:
        return db.sql(sql).pl()


def cents(amount: Decimal) -> int:
    return int(amount * 100)


def test_every_month_is_what_a_ledger_day_by_day_says(home, book):
    """Every loan month equals that of the plain ledger in every state of knowledge, and no row is missing or extra."""
    found = {
        (r["loan_id"], r["month_on"], r["known_on"]): r
        for r in query(home, "select * from intermediate.int_loan_months where source = 'whole'").iter_rows(named=True)
    }
    last, lag, versions = reported(book), dt.timedelta(days=LAG), 0
    for loan in book:
        ledgers = {}
        for end in months_from(loan.opened_on, last):
            knowledge_dates = knowledge(loan, end)
            for known_by, later in zip(knowledge_dates, [*knowledge_dates[1:], None], strict=True):
                ledger = ledgers.setdefault(known_by, DayByDay(loan, known_by))
                if not ledger.has_row(end):
                    continue
                row = found.pop((loan.loan_id, end, known_by + lag))
                month = ledger.month(end)
                where = (loan, end, known_by, month, row)
                assert row["superseded_on"] == (later + lag if later else None), where
                assert (row["dpd_max"], row["dpd_end"]) == (month.dpd_max, month.dpd_end), where
                assert (cents(row["due"]), cents(row["paid"])) == (month.due, month.paid), where
                assert cents(row["balance"]) == month.balance, where
                gone = ledger.is_written_off(end)
                assert (row["state"] == "written_off") == gone, where
                assert (row["state"] == "closed") == (month.is_closed and not gone), where
                assert row["is_default"] == (gone or (month.dpd_end >= 60 and month.arrears >= 6_000)), where
                versions += known_by != end
    assert not found
    assert versions > 1_000, "months that were reported again"


def test_book_holds_what_it_should(home):
    """The book has enough arrears, reversals, closed loans, defaults and restructurings for a useful comparison."""
    (row,) = query(
        home,
        "select count(*) filter (where dpd_end >= 90) as far, count(*) filter (where dpd_max > dpd_end) as cured,"
        " count(*) filter (where paid < 0) as reversed, count(*) filter (where state = 'closed') as closed,"
        " count(*) filter (where is_default) as defaults from marts.fct_loan_months where source = 'whole'",
    ).rows(named=True)
    assert min(row.values()) > 50, row
    (counts,) = query(
        home,
        "select count(distinct loan_no) filter (where version_no > 2) as restructured,"
        " count(distinct loan_no) filter (where is_revised) as revised"
        " from intermediate.int_ledger_versions join intermediate.int_ledger_states using (state_no, loan_no)"
        " where source = 'whole'",
    ).rows(named=True)
    assert min(counts.values()) > 200, counts


def test_book_holds_corrections(book):
    """The book has enough corrected payments and instalments whose old version was used in at least one reported month.

    Some payments are corrected more than once, and some move to another loan.
    """
    corrected = {"payments": 0, "instalments": 0}
    for loan in book:
        for kind, versions in (("payments", loan.payments), ("instalments", loan.instalments)):
            for v in versions:
                event = v.paid_on if kind == "payments" else v.valid_from
                gone = v.until and visible(loan, event, v.until)
                corrected[kind] += bool(gone) and gone > max(visible(loan, event, v.known_at), month_end(event))
    assert min(corrected.values()) > 200, corrected
    versions = Counter(p.number for loan in book for p in loan.payments)
    assert max(versions.values()) > 2
    places = {(p.number, loan.loan_id) for loan in book for p in loan.payments}
    assert len(places) - len(versions) > 50, "moved to another loan"


def test_no_cent_is_lost(home, book):
    """The payments in all loan months add up, to the cent, to what the loans paid until the last reported month.

    Loans that were opened later are not included.

    The one payment whose loan is unknown stays in suspense.
    """
    last = reported(book)
    newest = [p for loan in book if loan.opened_on <= last for p in loan.payments if p.until is None]
    expected = sum(p.amount for p in newest if p.paid_on <= last)
    paid = "select sum(paid) as paid from marts.fct_loan_months where source = 'whole'"
    assert cents(query(home, paid).item()) == expected
    suspense = "select count(*) from marts.fct_payments where source = 'whole' and in_suspense"
    assert query(home, suspense).item() == 1


@pytest.mark.parametrize("cut", CUTS, ids=str)
def test_features_cannot_see_what_became_known_later(home, cut):
    """The features at a cut date are the same if the source lacks all rows that became known too late for them.

    A row is too late if it became known more than `LAG` days after the cut date.

    The missing rows are late payments, reversals, schedules and loans, and corrections.
    """
    sql = (
        "select * exclude (source, is_live) from marts.feat_loan_months"
        " where source = '{}' and month_on = '{}' order by loan_id"
    )
    whole, cut_off = (query(home, sql.format(source, cut)) for source in ("whole", f"cut_{cut:%Y%m}"))
    assert whole.height > 300
    assert whole.equals(cut_off)
    now = query(home, f"select * from marts.fct_loan_months where source = 'whole' and month_on = '{cut}'")
    then = query(home, f"select * from marts.fct_loan_months where source = 'cut_{cut:%Y%m}' and month_on = '{cut}'")
    assert not now.drop("source").equals(then.drop("source")), "nothing was known late: the test shows nothing"
