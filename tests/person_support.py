"""A lender whose files tell of persons in every way that a contract knows, and books of it."""

import datetime as dt
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import yaml

from dagster_project.home.settings import PROJECT_ROOT, Settings
from dagster_project.ingestion.intake import ingest
from dagster_project.ingestion.lake.receipts import Receipt
from dagster_project.night.pipeline import Pipeline, load_pipeline

NOW = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)


def _column(name: str, *more: str, kind: str = "string", origin: str = "") -> str:
    parts = [f"name: {name}", f"logicalType: {kind}", "description: Told.", *more]
    if kind == "number":
        parts.append('physicalType: "decimal(18,2)"')
    if origin:
        parts.append(f"transformSourceObjects: [{origin}]")
    return "      - {" + ", ".join(parts) + "}"


_KEY, _MUST = "primaryKey: true", "required: true"
_ID, _PERSONAL, _SENSITIVE = "classification: identifier", "classification: personal", "classification: sensitive"


def _object(name: str, kind: str, columns: Iterable[str], *custom: str) -> str:
    own = ", ".join("{" + c + "}" for c in custom)
    head = f"  - name: {name}\n    physicalType: {kind}\n    description: Told.\n    customProperties: [{own}]\n"
    return head + "    properties:\n" + "\n".join(columns)


def _file(name: str, columns: Iterable[str], *custom: str) -> str:
    return _object(name, "file", columns, f"property: filePattern, value: '{name}*'", *custom)


def _table(name: str, event_on: str, columns: Iterable[str], *custom: str) -> str:
    return _object(name, "table", columns, f"property: eventOn, value: {event_on}", *custom)


CONTRACT = "\n".join(
    (
        "apiVersion: v3.0.2\nkind: DataContract\nid: lender\nname: A lender\nversion: 1.0.0\nstatus: active",
        "customProperties:\n  - {property: currency, value: EUR}\n  - {property: knownAtLagDays, value: 0}\nschema:",
        _file(
            "people",
            (
                _column("customer_no", _KEY, _ID),
                _column("name", _MUST, _PERSONAL),
                _column("street", _PERSONAL),
                _column("account_no", _MUST, _ID),
                _column("sex", _SENSITIVE, kind="integer"),
                _column("reported_on", _MUST, kind="date"),
            ),
        ),
        _file(
            "agreements",
            (
                _column("loan_no", _KEY),
                _column("customer_no", _MUST, _ID),
                _column("signed_on", _MUST, kind="date"),
                _column("lent", _MUST, kind="number"),
                _column("monthly", _MUST, kind="number"),
            ),
        ),
        _file(
            "months",
            (
                _column("loan_no", _KEY),
                _column("month_end", _KEY, kind="date"),
                _column("open", _MUST, kind="number"),
                _column("paid_in", _MUST, kind="number"),
                _column("repaid", _MUST, kind="number"),
            ),
            "property: controlAmount, value: [paid_in]",
        ),
        _file(
            "transfers",
            (
                _column("transfer_no", _KEY),
                _column("loan_no", _MUST),
                _column("paid_on", _MUST, kind="date"),
                _column("amount", _MUST, kind="number"),
                _column("payer_no", _ID),
            ),
        ),
        _table(
            "borrowers",
            "reported_on",
            (
                _column("borrower_id", _KEY, _ID, origin="people.customer_no"),
                _column("account_id", _ID, origin="people.account_no"),
            ),
        ),
        _table(
            "borrower_attributes",
            "reported_on",
            (
                _column("borrower_id", _KEY, _ID, origin="people.customer_no"),
                _column("sex", _SENSITIVE, kind="integer", origin="people.sex"),
            ),
        ),
        _table(
            "loans",
            "signed_on",
            (
                _column("loan_id", _KEY, origin="agreements.loan_no"),
                _column("borrower_id", _MUST, _ID, origin="agreements.customer_no"),
                _column("product", _MUST, "transformLogic: \"'instalment_loan'\""),
                _column("currency", _MUST, "transformLogic: \"'EUR'\""),
                _column("opened_on", kind="date", origin="agreements.signed_on"),
                _column("original_amount", kind="number", origin="agreements.lent"),
                _column("opening_balance", kind="number", origin="agreements.lent"),
                _column("instalment", kind="number", origin="agreements.monthly"),
            ),
        ),
        _table(
            "statements",
            "month_end",
            (
                _column("loan_id", _KEY, origin="months.loan_no"),
                _column("month_on", _KEY, kind="date", origin="months.month_end"),
                _column("balance", _MUST, kind="number", origin="months.open"),
                _column("paid", _MUST, kind="number", origin="months.paid_in"),
                _column("principal", kind="number", origin="months.repaid"),
            ),
            "property: controlAmount, value: [paid]",
        ),
        _table(
            "payments",
            "paid_on",
            (
                _column("payment_id", _KEY, origin="transfers.transfer_no"),
                _column("loan_id", _MUST, origin="transfers.loan_no"),
                _column("paid_on", _MUST, kind="date", origin="transfers.paid_on"),
                _column("amount", _MUST, kind="number", origin="transfers.amount"),
                _column("currency", _MUST, "transformLogic: \"'EUR'\""),
                _column("payer_id", _ID, origin="transfers.payer_no"),
            ),
        ),
    )
)
HEADERS = {
    "people": "customer_no,name,street,account_no,sex,reported_on",
    "agreements": "loan_no,customer_no,signed_on,lent,monthly",
    "months": "loan_no,month_end,open,paid_in,repaid",
    "transfers": "transfer_no,loan_no,paid_on,amount,payer_no",
}
# The day on which everything of a small book happens: long enough ago that no retention holds it.
DAY = "2018-03-31"


def lender_in(home: Path, contract: str = CONTRACT, extra_checks=None, **settings) -> Pipeline:
    """A pipeline whose home has the lender, and no other source."""
    folder = home / "contracts/lender"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "contract.yaml").write_text(contract)
    (home / "policy.yaml").write_text(_policy())
    loaded = _loaded(contract)
    own = Settings(home=home, policy=home / "policy.yaml", **settings)
    return replace(loaded, settings=own, extra_checks=extra_checks or {})


@cache
def _policy() -> str:
    policy = yaml.safe_load((PROJECT_ROOT / "policy/default.yaml").read_text())
    anchor = {"score": 600, "odds": 20}
    policy["sources"] = {
        "lender": {
            "arrears_basis": "imputed",
            "feature_lag_days": 5,
            "label_horizon_months": 6,
            "observe_from_month": 7,
            "write_off_min": 100,
            "score_anchor": anchor,
        }
    }
    policy["training"]["cv_folds"] = 2
    policy["bootstrap_gate"] |= {"slope_min": 0.1, "slope_max": 10.0, "auc_lower_bound": 0.5}  # no model is judged here
    return yaml.safe_dump(policy, sort_keys=False)


@cache
def _loaded(contract: str) -> Pipeline:
    """The pipeline of a contract: to read all contracts takes half a second."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "contracts/lender").mkdir(parents=True)
        (home / "contracts/lender/contract.yaml").write_text(contract)
        (home / "policy.yaml").write_text(_policy())
        return load_pipeline(Settings(home=home, policy=home / "policy.yaml"))


def person(n: int, **other: str) -> dict[str, str]:
    """A line of `people`: C10000n, with a name, street and account of their own."""
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
    """Land files, and take them in."""
    folder = pipeline.ingest_context.landing / "lender"
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return ingest(pipeline.sources["lender"], pipeline.ingest_context, now)


def raw(pipeline: Pipeline, table: str) -> pl.DataFrame:
    """Everything that the lake holds of a table."""
    return pl.read_parquet(pipeline.ingest_context.lake / "raw/lender" / table / "*.parquet")


def book(seed: int = 3, loans: int = 1000, months: int = 30) -> dict[str, list[dict[str, str]]]:
    """Loans of 3,000 with a borrower each, some of whom pay less and less and are written off: enough for a model."""
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
