"""A lender in its first year: a contract alone, one book of loans and a file a month. Nights on it are short."""

import datetime as dt
import os
import subprocess
import sys
from pathlib import Path

import yaml

from dagster_project.home.settings import PROJECT_ROOT, Settings
from dagster_project.night.pipeline import Pipeline, load_pipeline

MONTH_ENDS = [dt.date(2024, m + 1, 1) - dt.timedelta(days=1) for m in range(1, 11)]
LOANS = [f"L{n}" for n in range(40)]
_MONEY = {"logicalType": "number", "physicalType": "decimal(18,2)", "description": "Amount.", "required": True}
_TEXT = {"logicalType": "string", "description": "Text.", "required": True}
_DAY = {"logicalType": "date", "description": "Day.", "required": True}


def _column(name: str, kind: dict, origin: str | None = None, **more) -> dict:
    return {"name": name, **kind, **more} | ({"transformSourceObjects": [origin]} if origin else {})


def _object(name: str, kind: str, columns: list[dict], **properties) -> dict:
    listed = [{"property": key, "value": value} for key, value in properties.items()]
    return {"name": name, "physicalType": kind, "description": name, "customProperties": listed, "properties": columns}


CONTRACT = {
    "apiVersion": "v3.0.2",
    "kind": "DataContract",
    "id": "young_lender",
    "name": "A lender in its first year",
    "version": "1.0.0",
    "status": "active",
    "customProperties": [
        {"property": "currency", "value": "EUR"},
        {"property": "knownAtLagDays", "value": 3},
    ],
    "schema": [
        _object(
            "book",
            "file",
            [_column("loan", _TEXT, primaryKey=True), _column("who", _TEXT, classification="identifier"),
             _column("since", _DAY), _column("lent", _MONEY), _column("monthly", _MONEY)],
            filePattern="book-*.csv",
            dayInName="book-%Y-%m-%d",
        ),
        _object(
            "month",
            "file",
            [_column("loan", _TEXT, primaryKey=True), _column("end", _DAY, primaryKey=True), _column("open", _MONEY),
             _column("paid", _MONEY)],
            filePattern="20*.csv",
            monthInName="%Y-%m",
            controlAmount=["paid"],
        ),
        _object("borrowers", "table",
                [_column("borrower_id", _TEXT, "book.who", primaryKey=True, classification="identifier")],
                eventOn="since"),
        _object(
            "loans",
            "table",
            [_column("loan_id", _TEXT, "book.loan", primaryKey=True),
             _column("borrower_id", _TEXT, "book.who", classification="identifier"),
             _column("product", _TEXT, transformLogic="'instalment_loan'"),
             _column("currency", _TEXT, transformLogic="'EUR'"),
             _column("opened_on", _DAY, "book.since"), _column("original_amount", _MONEY, "book.lent"),
             _column("opening_balance", _MONEY, "book.lent"), _column("instalment", _MONEY, "book.monthly")],
            eventOn="since",
        ),
        _object(
            "statements",
            "table",
            [_column("loan_id", _TEXT, "month.loan", primaryKey=True),
             _column("month_on", _DAY, "month.end", primaryKey=True), _column("balance", _MONEY, "month.open"),
             _column("paid", _MONEY, "month.paid")],
            eventOn="end",
            controlAmount=["paid"],
        ),
    ],
}  # fmt: skip
POLICY = {
    "arrears_basis": "imputed",
    "feature_lag_days": 3,
    "label_horizon_months": 6,
    "observe_from_month": 2,
    "write_off_min": 100,
    "score_anchor": {"score": 600, "odds": 20},
}


def lender(home: Path) -> Pipeline:
    """A home with the young lender alone, and its eleven files landed."""
    landing = empty_lender(home)
    (landing / "book-2024-01-02.csv").write_text(book_file())
    for m, end in enumerate(MONTH_ENDS):
        rows = [f"{loan},{end},{1000 - 100 * min(m + 1, 9)}.00,100.00\n" for loan in LOANS]
        (landing / f"{end:%Y-%m}.csv").write_text("loan,end,open,paid\n" + "".join(rows))
    return pipeline_of(home)


def book_file(loans: list[str] = LOANS) -> str:
    """All loans, as the lender delivers them."""
    return "loan,who,since,lent,monthly\n" + "".join(f"{n},Person {n},2023-12-20,1000.00,100.00\n" for n in loans)


def empty_lender(home: Path) -> Path:
    """A home with the young lender's contract and policy, and nothing delivered; returns its landing folder."""
    folder = home / "contracts/young_lender"
    folder.mkdir(parents=True)
    (folder / "contract.yaml").write_text(yaml.safe_dump(CONTRACT, sort_keys=False))
    policy = yaml.safe_load((PROJECT_ROOT / "policy/default.yaml").read_text())
    policy["sources"] = {"young_lender": POLICY}
    (home / "policy.yaml").write_text(yaml.safe_dump(policy, sort_keys=False))
    landing = home / "landing/young_lender"
    landing.mkdir(parents=True)
    return landing


def pipeline_of(home: Path, **more) -> Pipeline:
    return load_pipeline(Settings(home=home, policy=home / "policy.yaml"), **more)


def command(home: Path, *arguments: str) -> subprocess.Popen:
    environment = os.environ | {"CREDITLOOM_HOME": str(home), "CREDITLOOM_POLICY": str(home / "policy.yaml")}
    line = [str(Path(sys.executable).with_name("creditloom")), *arguments]
    return subprocess.Popen(line, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            start_new_session=True)  # fmt: skip
