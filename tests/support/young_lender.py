"""A small lender with one contract, one file of loans and a file for each of ten months. Nights on it are short."""

import datetime as dt
import os
import subprocess
import sys
from pathlib import Path

from dagster_project.home.settings import Settings
from dagster_project.night.pipeline import Pipeline, load_pipeline
from support.contracts import (
    IDENTIFIER,
    KEY,
    REQUIRED,
    column,
    constant,
    contract,
    file_layout,
    policy_for,
    table,
    write_home,
)

SOURCE = "young_lender"
MONTH_ENDS = [dt.date(2024, m + 1, 1) - dt.timedelta(days=1) for m in range(1, 11)]
LOANS = [f"L{n}" for n in range(40)]
CONTRACT = contract(
    SOURCE,
    3,
    file_layout(
        "book",
        (
            column("loan", KEY),
            column("who", REQUIRED, IDENTIFIER),
            column("since", REQUIRED, kind="date"),
            column("lent", REQUIRED, kind="number"),
            column("monthly", REQUIRED, kind="number"),
        ),
        "book-*.csv",
        dayInName="book-%Y-%m-%d",
    ),
    file_layout(
        "month",
        (
            column("loan", KEY),
            column("end", KEY, kind="date"),
            column("open", REQUIRED, kind="number"),
            column("paid", REQUIRED, kind="number"),
        ),
        "20*.csv",
        monthInName="'%Y-%m'",
        controlAmount="[paid]",
    ),
    table("borrowers", "since", (column("borrower_id", KEY, IDENTIFIER, origin="book.who"),)),
    table(
        "loans",
        "since",
        (
            column("loan_id", KEY, origin="book.loan"),
            column("borrower_id", REQUIRED, IDENTIFIER, origin="book.who"),
            constant("product", "instalment_loan"),
            constant("currency", "EUR"),
            column("opened_on", REQUIRED, kind="date", origin="book.since"),
            column("original_amount", REQUIRED, kind="number", origin="book.lent"),
            column("opening_balance", REQUIRED, kind="number", origin="book.lent"),
            column("instalment", REQUIRED, kind="number", origin="book.monthly"),
        ),
    ),
    table(
        "statements",
        "end",
        (
            column("loan_id", KEY, origin="month.loan"),
            column("month_on", KEY, kind="date", origin="month.end"),
            column("balance", REQUIRED, kind="number", origin="month.open"),
            column("paid", REQUIRED, kind="number", origin="month.paid"),
        ),
        controlAmount="[paid]",
    ),
)
POLICY = {
    "arrears_basis": "imputed",
    "feature_lag_days": 3,
    "label_horizon_months": 6,
    "observe_from_month": 2,
    "write_off_min": 100,
    "score_anchor": {"score": 600, "odds": 20},
}


def lender(home: Path) -> Pipeline:
    """Create a home with the young lender as its only source and its eleven files in the landing folder.

    Returns the home's pipeline.
    """
    landing = empty_lender(home)
    (landing / "book-2024-01-02.csv").write_text(book_file())
    for m, end in enumerate(MONTH_ENDS):
        rows = [f"{loan},{end},{1000 - 100 * min(m + 1, 9)}.00,100.00\n" for loan in LOANS]
        (landing / f"{end:%Y-%m}.csv").write_text("loan,end,open,paid\n" + "".join(rows))
    return pipeline_of(home)


def book_file(loans: list[str] = LOANS) -> str:
    """Return the file of loans, as text in the lender's format."""
    return "loan,who,since,lent,monthly\n" + "".join(f"{n},Person {n},2023-12-20,1000.00,100.00\n" for n in loans)


def empty_lender(home: Path) -> Path:
    """Create a home with the young lender's contract and policy, and return its landing folder, which is empty."""
    write_home(home, SOURCE, CONTRACT, policy_for(SOURCE, POLICY))
    landing = home / "landing" / SOURCE
    landing.mkdir(parents=True)
    return landing


def pipeline_of(home: Path, **more) -> Pipeline:
    return load_pipeline(Settings(home=home, policy=home / "policy.yaml"), **more)


def command(home: Path, *arguments: str) -> subprocess.Popen:
    environment = os.environ | {"CREDITLOOM_HOME": str(home), "CREDITLOOM_POLICY": str(home / "policy.yaml")}
    line = [str(Path(sys.executable).with_name("creditloom")), *arguments]
    return subprocess.Popen(line, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            start_new_session=True)  # fmt: skip
