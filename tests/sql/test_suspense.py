"""Tests of the two dbt tests that report payments which settle no debt.

One reports payments whose loan stays unknown. The other reports loans that paid more than was ever due.
"""

import datetime as dt
import json
from decimal import Decimal
from pathlib import Path

import yaml

from dagster_project.home.settings import PROJECT_ROOT, Settings
from dagster_project.policy import load_policy
from dagster_project.warehouse.runner import run_dbt
from support.raw_tables import lined, write_selection

NEWEST = dt.date(2020, 3, 1)


def payment(number: int, loan: str, day: dt.date, amount: float = 5) -> dict:
    what = {"payment_id": str(number), "loan_id": loan, "amount": Decimal(str(amount)), "currency": "EUR"}
    return what | {"paid_on": day, "event_on": day, "known_at": day, "until": None}


def loan(name: str, day: dt.date) -> dict:
    what = {"loan_id": name, "borrower_id": "b", "product": "loan", "currency": "EUR", "opened_on": day}
    return what | {"event_on": day, "known_at": day, "until": None}


def instalment(name: str, valid_from: dt.date, number: int, due_on: dt.date) -> dict:
    what = {"loan_id": name, "valid_from": valid_from, "instalment_no": number, "due_on": due_on}
    return what | {"amount": Decimal(100), "event_on": valid_from, "known_at": valid_from, "until": None}


def policy_of(home: Path) -> dict:
    policy = yaml.safe_load((PROJECT_ROOT / "policy/default.yaml").read_text())
    policy["sources"] = {"simulated": policy["sources"]["simulated"]}
    (home / "policy.yaml").write_text(yaml.safe_dump(policy, sort_keys=False))
    return policy


def result_of(test: str, home: Path, **tables: list[dict]) -> tuple[str, int]:
    """Build the warehouse from `tables`, and return the status of a dbt test and the number of rows that it reports.

    `test` is the name of the dbt test.
    """
    settings = Settings(home=home, policy=home / "policy.yaml")
    lineage = {"source": "", "delivery_id": "0" * 16, "ingested_at": dt.datetime(2026, 1, 1)}
    write_selection(lined(tables, lineage), settings.selection, "simulated")
    build = ["build", "--select", "+fct_payments", "+stg_schedules", "--exclude-resource-type", "unit_test"]
    done = run_dbt(settings, load_policy(settings.policy), [*build, "--indirect-selection", "cautious"], quiet=True)
    assert done.returncode == 0, done.stdout[-3000:]
    results = json.loads((settings.dbt_target / "run_results.json").read_text())["results"]
    (result,) = [r for r in results if r["unique_id"].endswith(test)]
    return result["status"], result["failures"]


def test_money_of_unknown_loans_is_reported_after_the_allowed_days(tmp_path):
    days = policy_of(tmp_path)["ingestion"]["suspense_days"]
    ago = lambda more: NEWEST - dt.timedelta(days=days + more)
    payments = [payment(1, "known", ago(20)), payment(2, "nobody's", ago(1)), payment(3, "nobody's", ago(0))]
    rows = {"loans": [loan("known", ago(30))], "payments": [*payments, payment(4, "known", NEWEST)]}
    assert result_of("payments_leave_suspense", tmp_path, **rows) == ("warn", 1)


def test_payments_beyond_all_that_is_due_are_reported(tmp_path):
    """A loan that paid at least `overpaid_min` more than was ever due is reported.

    Each loan with a schedule has two instalments of 100. The loan `replanned` gets a new schedule on 10 February,
    before any instalment of the first schedule was due, so it owes 200 and not 400.
    """
    least = policy_of(tmp_path)["ingestion"]["overpaid_min"]
    begin, replanned_on = dt.date(2020, 1, 1), dt.date(2020, 2, 10)
    names = {
        "exact": 200,
        "over": 200 + least,
        "nearly": 199.99 + least,
        "replanned": 200 + least,
        "early": 150,
        "card": 999,
    }
    schedules = [
        instalment(name, begin, number, dt.date(2020, 1 + number, 20))
        for name in names
        if name != "card"  # it has no schedule
        for number in (1, 2)
    ]
    schedules += [instalment("replanned", replanned_on, number, dt.date(2020, 2 + number, 20)) for number in (1, 2)]
    rows = {
        "loans": [loan(name, begin) for name in names],
        "payments": [payment(n, name, NEWEST, amount) for n, (name, amount) in enumerate(names.items())],
        "schedules": schedules,
    }
    # `replanned`: nothing of its first version was due before the second began, which asks for 200, too.
    assert result_of("payments_are_owed", tmp_path, **rows) == ("warn", 2)
