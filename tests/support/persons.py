"""A lender whose files contain every kind of personal data that a contract can describe, and books of its loans."""

import datetime as dt
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl

from dagster_project.home.settings import Settings
from dagster_project.ingestion.intake import ingest
from dagster_project.ingestion.lake.receipts import Receipt
from dagster_project.night.pipeline import Pipeline, load_pipeline
from support.contracts import (
    IDENTIFIER,
    KEY,
    PERSONAL,
    REQUIRED,
    SENSITIVE,
    column,
    constant,
    contract,
    file_layout,
    policy_for,
    table,
    write_home,
)

NOW = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)


CONTRACT = contract(
    "lender",
    0,
    file_layout(
        "people",
        (
            column("customer_no", KEY, IDENTIFIER),
            column("name", REQUIRED, PERSONAL),
            column("street", PERSONAL),
            column("account_no", REQUIRED, IDENTIFIER),
            column("sex", SENSITIVE, kind="integer"),
            column("reported_on", REQUIRED, kind="date"),
        ),
    ),
    file_layout(
        "agreements",
        (
            column("loan_no", KEY),
            column("customer_no", REQUIRED, IDENTIFIER),
            column("signed_on", REQUIRED, kind="date"),
            column("lent", REQUIRED, kind="number"),
            column("monthly", REQUIRED, kind="number"),
        ),
    ),
    file_layout(
        "months",
        (
            column("loan_no", KEY),
            column("month_end", KEY, kind="date"),
            column("open", REQUIRED, kind="number"),
            column("paid_in", REQUIRED, kind="number"),
            column("repaid", REQUIRED, kind="number"),
        ),
        controlAmount="[paid_in]",
    ),
    file_layout(
        "transfers",
        (
            column("transfer_no", KEY),
            column("loan_no", REQUIRED),
            column("paid_on", REQUIRED, kind="date"),
            column("amount", REQUIRED, kind="number"),
            column("payer_no", IDENTIFIER),
        ),
    ),
    table(
        "borrowers",
        "reported_on",
        (
            column("borrower_id", KEY, IDENTIFIER, origin="people.customer_no"),
            column("account_id", IDENTIFIER, origin="people.account_no"),
        ),
    ),
    table(
        "borrower_attributes",
        "reported_on",
        (
            column("borrower_id", KEY, IDENTIFIER, origin="people.customer_no"),
            column("sex", SENSITIVE, kind="integer", origin="people.sex"),
        ),
    ),
    table(
        "loans",
        "signed_on",
        (
            column("loan_id", KEY, origin="agreements.loan_no"),
            column("borrower_id", REQUIRED, IDENTIFIER, origin="agreements.customer_no"),
            constant("product", "instalment_loan"),
            constant("currency", "EUR"),
            column("opened_on", kind="date", origin="agreements.signed_on"),
            column("original_amount", kind="number", origin="agreements.lent"),
            column("opening_balance", kind="number", origin="agreements.lent"),
            column("instalment", kind="number", origin="agreements.monthly"),
        ),
    ),
    table(
        "statements",
        "month_end",
        (
            column("loan_id", KEY, origin="months.loan_no"),
            column("month_on", KEY, kind="date", origin="months.month_end"),
            column("balance", REQUIRED, kind="number", origin="months.open"),
            column("paid", REQUIRED, kind="number", origin="months.paid_in"),
            column("principal", kind="number", origin="months.repaid"),
        ),
        controlAmount="[paid]",
    ),
    table(
        "payments",
        "paid_on",
        (
            column("payment_id", KEY, origin="transfers.transfer_no"),
            column("loan_id", REQUIRED, origin="transfers.loan_no"),
            column("paid_on", REQUIRED, kind="date", origin="transfers.paid_on"),
            column("amount", REQUIRED, kind="number", origin="transfers.amount"),
            constant("currency", "EUR"),
            column("payer_id", IDENTIFIER, origin="transfers.payer_no"),
        ),
    ),
)
HEADERS = {
    "people": "customer_no,name,street,account_no,sex,reported_on",
    "agreements": "loan_no,customer_no,signed_on,lent,monthly",
    "months": "loan_no,month_end,open,paid_in,repaid",
    "transfers": "transfer_no,loan_no,paid_on,amount,payer_no",
}
# The day on which everything of a small book happens: long enough ago that no retention holds it.
DAY = "2018-03-31"


# No model is judged here, so the gate lets almost any pass.
LOOSE_GATE = {"slope_min": 0.1, "slope_max": 10.0, "auc_lower_bound": 0.5}
POLICY = {
    "arrears_basis": "imputed",
    "feature_lag_days": 5,
    "label_horizon_months": 6,
    "observe_from_month": 7,
    "write_off_min": 100,
    "score_anchor": {"score": 600, "odds": 20},
}


def lender_in(home: Path, contract_text: str = CONTRACT, extra_checks=None, **settings) -> Pipeline:
    """Return a pipeline for `home`, with this lender as its only source.

    `settings` are further settings of the home.
    """
    _write_home(home, contract_text)
    own = Settings(home=home, policy=home / "policy.yaml", **settings)
    return replace(_loaded(contract_text), settings=own, extra_checks=extra_checks or {})


def _write_home(home: Path, contract_text: str) -> None:
    policy = policy_for("lender", POLICY)
    policy["training"] |= {"cv_folds": 2}
    policy["bootstrap_gate"] |= LOOSE_GATE
    write_home(home, "lender", contract_text, policy)


@cache
def _loaded(contract_text: str) -> Pipeline:
    """Return the pipeline for a contract. The result is cached, because reading all contracts takes half a second."""
    with tempfile.TemporaryDirectory() as folder:
        _write_home(Path(folder), contract_text)
        return load_pipeline(Settings(home=Path(folder), policy=Path(folder) / "policy.yaml"))


def person(n: int, **other: str) -> dict[str, str]:
    """Return a line of the file `people` for customer number 100000 + n.

    Name, street and account number are derived from n, so they differ between customers. `other` replaces values by
    column name.
    """
    values = {"customer_no": f"C{100000 + n}", "name": f"Ilse Quandt-{n:05}", "street": f"Muehlgasse {n} b"}
    return values | {"account_no": f"DE55{n:012}", "sex": str(n % 2), "reported_on": DAY} | other


def agreement(n: int, **other: str) -> dict[str, str]:
    values = {"loan_no": f"L{n}", "customer_no": f"C{100000 + n}", "signed_on": DAY}
    return values | {"lent": "3000.00", "monthly": "100.00"} | other


def transfer(n: int, **other: str) -> dict[str, str]:
    return {"transfer_no": f"T{n}", "loan_no": f"L{n}", "paid_on": DAY, "amount": "100.00", "payer_no": ""} | other


def csv_of(table: str, *rows: dict[str, str], more: str = "") -> bytes:
    lines = [HEADERS[table], *(",".join(row.values()) for row in rows)]
    return ("\n".join(lines) + "\n" + more).encode()


def deliver(pipeline: Pipeline, files: dict[str, bytes], now: dt.datetime = NOW) -> list[Receipt]:
    """Write files into the landing folder of the lender, ingest them and return their receipts."""
    folder = pipeline.ingest_context.landing / "lender"
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return ingest(pipeline.sources["lender"], pipeline.ingest_context, now)


def raw(pipeline: Pipeline, table: str) -> pl.DataFrame:
    """Return all rows of a table in the lake."""
    return pl.read_parquet(pipeline.ingest_context.lake / "raw/lender" / table / "*.parquet")


def book(seed: int = 3, loans: int = 1000, months: int = 30) -> dict[str, list[dict[str, str]]]:
    """Return a random book of loans over 3,000, one per borrower, that is large enough to train a model.

    Some borrowers miss payments more and more often, and their loans may be written off. The result contains the lines
    of each kind of file.
    """
    random = np.random.default_rng(seed)
    ends = pl.date_range(dt.date(2018, 2, 1), interval="1mo", end=dt.date(2030, 1, 1), eager=True)[:months]
    days = [(day - dt.timedelta(days=1)).isoformat() for day in ends]
    weak = random.random(loans) < 0.35
    rows = []
    for n in range(loans):
        balance = 3000.0
        for m, day in enumerate(days):
            misses = random.random() < (0.05 + 0.05 * m if weak[n] else 0.03)
            goes = weak[n] and m > 8 and random.random() < 0.05
            paid = 0.0 if misses or goes else 100.0
            balance = 0.0 if goes else balance - paid
            money = {"open": f"{balance:.2f}", "paid_in": f"{paid:.2f}", "repaid": f"{paid:.2f}"}
            rows.append({"loan_no": f"L{n}", "month_end": day} | money)
            if goes:
                break
    opened = {"signed_on": "2017-12-15"}
    people = [person(n, reported_on="2017-12-15") for n in range(loans)]
    agreements = [agreement(n, **opened) for n in range(loans)]
    paid_rows = [r for r in rows if r["paid_in"] != "0.00"]
    transfers = [
        transfer(n, loan_no=r["loan_no"], paid_on=r["month_end"], amount=r["paid_in"]) for n, r in enumerate(paid_rows)
    ]
    return {"people": people, "agreements": agreements, "months": rows, "transfers": transfers}


PEOPLE = [person(n) for n in range(5)]


def pseudonym(lender, number, column="borrower_id"):
    return lender.ingest_context.keys.pseudonyms(pl.Series([number]), f"lender.{column}")["pseudonym"].item()
