"""A payment whose loan stays unknown is told of, once it is old enough; one whose loan became known is not."""

import datetime as dt
import json
from decimal import Decimal

import yaml
from ledger_support import lined, write_selection

from dagster_project.dbt_project import run_dbt
from dagster_project.policy import load_policy
from dagster_project.settings import PROJECT_ROOT, Settings


def payment(number: int, loan: str, day: dt.date) -> dict:
    what = {"payment_id": str(number), "loan_id": loan, "amount": Decimal(5), "currency": "EUR"}
    return what | {"paid_on": day, "event_on": day, "known_at": day, "until": None}


def test_money_of_unknown_loans_is_told_of_after_so_many_days(tmp_path):
    policy = yaml.safe_load((PROJECT_ROOT / "policy/default.yaml").read_text())
    policy["sources"] = {"simulated": policy["sources"]["simulated"]}
    days = policy["ingestion"]["suspense_days"]
    (tmp_path / "policy.yaml").write_text(yaml.safe_dump(policy, sort_keys=False))
    settings = Settings(home=tmp_path, policy=tmp_path / "policy.yaml")
    newest = dt.date(2020, 3, 1)
    ago = lambda more: newest - dt.timedelta(days=days + more)
    loan = {"loan_id": "known", "borrower_id": "b", "product": "loan", "currency": "EUR", "opened_on": ago(30)}
    payments = [payment(1, "known", ago(20)), payment(2, "nobody's", ago(1)), payment(3, "nobody's", ago(0))]
    tables = {
        "loans": [loan | {"event_on": ago(30), "known_at": ago(30), "until": None}],
        "payments": [*payments, payment(4, "known", newest)],
    }
    lineage = {"source": "", "delivery_id": "0" * 16, "ingested_at": dt.datetime(2026, 1, 1)}
    write_selection(lined(tables, lineage), settings.selection, "simulated")
    build = ["build", "--select", "+fct_payments", "--exclude-resource-type", "unit_test"]
    done = run_dbt(settings, load_policy(settings.policy), [*build, "--indirect-selection", "cautious"], quiet=True)
    assert done.returncode == 0, done.stdout[-3000:]
    results = json.loads((settings.dbt_target / "run_results.json").read_text())["results"]
    (told,) = [r for r in results if "payments_leave_suspense" in r["unique_id"]]
    assert (told["status"], told["failures"]) == ("warn", 1)
