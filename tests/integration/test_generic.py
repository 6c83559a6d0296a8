"""Tests that a lender who brings only files and a contract gets scores, without any Python or SQL.

One lender delivers monthly balances, and another delivers schedules and payments.
"""

import datetime as dt
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from dagster_project.home.settings import Settings
from dagster_project.ingestion.contracts.contract import ContractError
from dagster_project.ingestion.contracts.source import load_sources
from dagster_project.night.pipeline import load_pipeline
from dagster_project.operations.run_night import Exit, run_night
from support.contracts import policy_for, write_home, write_policy

MONTHS = 30
CONTRACT = """
apiVersion: v3.0.2
kind: DataContract
id: village_bank
name: Instalment loans of a village bank
version: 1.0.0
status: active
customProperties:
  - {property: currency, value: EUR}
  - {property: knownAtLagDays, value: 5}
schema:
  - name: contracts_file
    physicalType: file
    description: One line a loan.
    customProperties:
      - {property: filePattern, value: contracts*}
      - {property: deliveredOnce, value: true}
    properties:
      - {name: contract_no, logicalType: string, description: Number., primaryKey: true}
      - {name: customer, logicalType: string, description: Name., required: true, classification: identifier}
      - {name: signed_on, logicalType: date, description: Day., required: true,
         logicalTypeOptions: {format: MM-dd-yyyy}}
      - {name: lent, logicalType: number, physicalType: "decimal(18,2)", description: Lent., required: true}
      - {name: monthly, logicalType: number, physicalType: "decimal(18,2)", description: Instalment., required: true}
  - name: balances_file
    physicalType: file
    description: One line a loan and month.
    customProperties: [{property: filePattern, value: balances*}, {property: controlAmount, value: [paid_in]}]
    properties:
      - {name: contract_no, logicalType: string, description: Number., primaryKey: true}
      - {name: month_end, logicalType: date, description: Month-end., primaryKey: true}
      - {name: open, logicalType: number, physicalType: "decimal(18,2)", description: Balance., required: true}
      - {name: paid_in, logicalType: number, physicalType: "decimal(18,2)", description: Paid., required: true}
      - {name: repaid, logicalType: number, physicalType: "decimal(18,2)", description: Principal., required: true}
  - name: borrowers
    physicalType: table
    description: Customers.
    customProperties: [{property: eventOn, value: signed_on}]
    properties:
      - {name: borrower_id, logicalType: string, description: Pseudonym., primaryKey: true, classification: identifier,
         transformSourceObjects: [contracts_file.customer]}
  - name: loans
    physicalType: table
    description: Loans.
    customProperties: [{property: eventOn, value: signed_on}]
    properties:
      - {name: loan_id, logicalType: string, description: Number., primaryKey: true,
         transformSourceObjects: [contracts_file.contract_no]}
      - {name: borrower_id, logicalType: string, description: Pseudonym., required: true, classification: identifier,
         transformSourceObjects: [contracts_file.customer]}
      - {name: product, logicalType: string, description: Kind., required: true, transformLogic: "'instalment_loan'"}
      - {name: currency, logicalType: string, description: Currency., required: true, transformLogic: "'EUR'"}
      - {name: opened_on, logicalType: date, description: Day., transformSourceObjects: [contracts_file.signed_on]}
      - {name: original_amount, logicalType: number, physicalType: "decimal(18,2)", description: Lent.,
         transformSourceObjects: [contracts_file.lent]}
      - {name: opening_balance, logicalType: number, physicalType: "decimal(18,2)", description: Lent.,
         transformSourceObjects: [contracts_file.lent]}
      - {name: instalment, logicalType: number, physicalType: "decimal(18,2)", description: Instalment.,
         transformSourceObjects: [contracts_file.monthly]}
  - name: statements
    physicalType: table
    description: Months.
    customProperties: [{property: eventOn, value: month_end}, {property: controlAmount, value: [paid]}]
    properties:
      - {name: loan_id, logicalType: string, description: Number., primaryKey: true,
         transformSourceObjects: [balances_file.contract_no]}
      - {name: month_on, logicalType: date, description: Month-end., primaryKey: true,
         transformSourceObjects: [balances_file.month_end]}
      - {name: balance, logicalType: number, physicalType: "decimal(18,2)", description: Balance., required: true,
         transformSourceObjects: [balances_file.open]}
      - {name: paid, logicalType: number, physicalType: "decimal(18,2)", description: Paid., required: true,
         transformSourceObjects: [balances_file.paid_in]}
      - {name: principal, logicalType: number, physicalType: "decimal(18,2)", description: Principal.,
         transformSourceObjects: [balances_file.repaid]}
"""
POLICY = {
    "arrears_basis": "imputed",
    "feature_lag_days": 5,
    "label_horizon_months": 6,
    "observe_from_month": 7,
    "write_off_min": 100,
    "score_anchor": {"score": 600, "odds": 20},
}


def book(seed: int = 3, loans: int = 1000) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the contracts and the monthly balances of a random book: loans of 3,000 over 30 months.

    About a third of the loans are weak. A weak loan misses payments more and more often. From the tenth month on, it
    may be written off.
    """
    random = np.random.default_rng(seed)
    months = [dt.date(2020 + (m + 1) // 12, (m + 1) % 12 + 1, 1) - dt.timedelta(days=1) for m in range(MONTHS)]
    weak = random.random(loans) < 0.35
    rows = []
    for n in range(loans):
        balance, gone = 3000.0, False
        for m, month in enumerate(months):
            misses = random.random() < (0.05 + 0.05 * m if weak[n] else 0.03)
            paid = 0.0 if misses or gone else 100.0
            writes_off = not gone and weak[n] and m > 8 and random.random() < 0.05
            balance = 0.0 if writes_off or gone else balance - paid
            gone = gone or writes_off
            rows.append((f"C{n:04}", month, f"{balance:.2f}", f"{paid:.2f}", f"{paid:.2f}"))
            if gone:
                break
    contracts = pl.DataFrame(
        {
            "contract_no": [f"C{n:04}" for n in range(loans)],
            "customer": [f"Customer Number {n}" for n in range(loans)],
            "signed_on": ["12-15-2019"] * loans,
            "lent": ["3000.00"] * loans,
            "monthly": ["100.00"] * loans,
        }
    )
    names = ["contract_no", "month_end", "open", "paid_in", "repaid"]
    return contracts, pl.DataFrame(rows, schema=names, orient="row").with_columns(pl.col("month_end").cast(pl.String))


def home_of(lender: str, contract: str, policy_entry: dict, tmp_path: Path) -> tuple[Path, Path]:
    """Create a home with the lender's contract and a policy in which this lender is the only source.

    Returns the home and its landing folder for the lender, which is empty.
    """
    home = tmp_path / "home"
    write_home(home, lender, contract, policy_for(lender, policy_entry))
    landing = home / "landing" / lender
    landing.mkdir(parents=True)
    return home, landing


@pytest.fixture
def village_bank(tmp_path) -> Path:
    """Return a home with the contract of the village bank, and with the bank's files in the landing folder.

    The policy of the home has no other source.
    """
    home, landing = home_of("village_bank", CONTRACT, POLICY, tmp_path)
    contracts, balances = book()
    contracts.write_csv(landing / "contracts.csv")
    balances.write_parquet(landing / "balances.parquet")
    return home


def test_from_contract_to_scores_without_python(village_bank):
    pipeline = load_pipeline(Settings(home=village_bank, policy=village_bank / "policy.yaml"))
    assert list(pipeline.sources) == ["village_bank"]
    result = run_night(pipeline)
    assert result.exit is Exit.PUBLISHED, result.failures
    metrics = result.snapshot.metrics()
    contracts, balances = book()
    assert metrics["ingest.village_bank.accepted_rows"] == contracts.height + balances.height
    paid = sum(round(float(p) * 100) for p in balances["paid_in"])
    assert metrics["ingest.village_bank.landed_minor"] == paid
    scores = pl.read_parquet(result.snapshot.folder / "scores.parquet")
    assert scores.height == metrics["scores.village_bank.count"] > 500
    assert metrics["model.village_bank.auc_low"] > 0.6
    names = [str(n) for n in contracts["customer"]]
    for path in result.snapshot.folder.glob("*.parquet"):
        text = pl.read_parquet(path).cast(pl.String, strict=False)
        assert not any(text[c].is_in(names).any() for c in text.columns), path.name


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("id: village_bank", "id: taiwan_cards", "the project already has a source"),
        ("[contracts_file.monthly]", "[contracts_file.yearly]", "has no column 'yearly'"),
        ("transformLogic: \"'EUR'\"", "required: true", "name its origin"),
        ("{property: eventOn, value: month_end}", "{property: eventOn, value: paid_in}", "eventOn must name a date"),
        (
            "{property: eventOn, value: month_end}",
            "{property: eventOn, value: month_end}, {property: knownOn, value: paid_in}",
            "knownOn must name a date",
        ),
        ("{name: product,", "{name: term_months,", "loans lacks product"),
        ("[balances_file.open]", "[contracts_file.lent]", "must come from one of the layouts"),
    ],
)
def test_half_mapped_contract_is_refused(tmp_path, old, new, says):
    assert old in CONTRACT
    (tmp_path / "bank").mkdir()
    (tmp_path / "bank/contract.yaml").write_text(CONTRACT.replace(old, new))
    with pytest.raises(ContractError, match=says):
        load_sources(tmp_path)


LEDGER_CONTRACT = """
apiVersion: v3.0.2
kind: DataContract
id: harbour_credit
name: Instalment loans of Harbour Credit, with schedule and daily payments
version: 1.0.0
status: active
customProperties:
  - {property: currency, value: EUR}
  - {property: knownAtLagDays, value: 1}
schema:
  - name: loans_file
    physicalType: file
    description: One line a loan.
    customProperties: [{property: filePattern, value: loans*}, {property: deliveredOnce, value: true}]
    properties:
      - {name: loan_no, logicalType: string, description: Number., primaryKey: true}
      - {name: customer, logicalType: string, description: Name., required: true, classification: identifier}
      - {name: paid_out_on, logicalType: date, description: Day., required: true}
      - {name: lent, logicalType: number, physicalType: "decimal(18,2)", description: Lent., required: true}
  - name: schedule_file
    physicalType: file
    description: One line an instalment.
    customProperties: [{property: filePattern, value: schedule*}]
    properties:
      - {name: loan_no, logicalType: string, description: Number., primaryKey: true}
      - {name: instalment, logicalType: integer, description: Instalment., primaryKey: true}
      - {name: paid_out_on, logicalType: date, description: Day of opening., required: true}
      - {name: due_on, logicalType: date, description: Due., required: true}
      - {name: amount, logicalType: number, physicalType: "decimal(18,2)", description: Due., required: true,
         logicalTypeOptions: {minimum: 0}}
      - {name: interest, logicalType: number, physicalType: "decimal(18,2)", description: Interest., required: true}
  - name: payments_file
    physicalType: file
    description: One line a payment.
    customProperties: [{property: filePattern, value: payments*}, {property: controlAmount, value: [amount]}]
    properties:
      - {name: booking, logicalType: string, description: Number., primaryKey: true}
      - {name: loan_no, logicalType: string, description: Loan., required: true}
      - {name: value_on, logicalType: date, description: Day., required: true}
      - {name: booked_on, logicalType: date, description: Day of booking., required: true}
      - {name: amount, logicalType: number, physicalType: "decimal(18,2)", description: Paid., required: true}
  - name: borrowers
    physicalType: table
    description: Customers.
    customProperties: [{property: eventOn, value: paid_out_on}]
    properties:
      - {name: borrower_id, logicalType: string, description: Pseudonym., primaryKey: true, classification: identifier,
         transformSourceObjects: [loans_file.customer]}
  - name: loans
    physicalType: table
    description: Loans.
    customProperties: [{property: eventOn, value: paid_out_on}]
    properties:
      - {name: loan_id, logicalType: string, description: Number., primaryKey: true,
         transformSourceObjects: [loans_file.loan_no]}
      - {name: borrower_id, logicalType: string, description: Pseudonym., required: true, classification: identifier,
         transformSourceObjects: [loans_file.customer]}
      - {name: product, logicalType: string, description: Kind., required: true, transformLogic: "'instalment_loan'"}
      - {name: currency, logicalType: string, description: Currency., required: true, transformLogic: "'EUR'"}
      - {name: opened_on, logicalType: date, description: Day., required: true,
         transformSourceObjects: [loans_file.paid_out_on]}
      - {name: original_amount, logicalType: number, physicalType: "decimal(18,2)", description: Lent., required: true,
         transformSourceObjects: [loans_file.lent]}
  - name: schedules
    physicalType: table
    description: Instalments; there is one version of each schedule, from the opening on.
    customProperties: [{property: eventOn, value: paid_out_on}]
    properties:
      - {name: loan_id, logicalType: string, description: Number., primaryKey: true,
         transformSourceObjects: [schedule_file.loan_no]}
      - {name: valid_from, logicalType: date, description: Day of opening., primaryKey: true,
         transformSourceObjects: [schedule_file.paid_out_on]}
      - {name: instalment_no, logicalType: integer, description: Instalment., primaryKey: true,
         transformSourceObjects: [schedule_file.instalment]}
      - {name: due_on, logicalType: date, description: Due., required: true,
         transformSourceObjects: [schedule_file.due_on]}
      - {name: amount, logicalType: number, physicalType: "decimal(18,2)", description: Due., required: true,
         transformSourceObjects: [schedule_file.amount]}
      - {name: interest, logicalType: number, physicalType: "decimal(18,2)", description: Interest.,
         transformSourceObjects: [schedule_file.interest]}
  - name: payments
    physicalType: table
    description: Payments, known from their booking on.
    customProperties: [{property: eventOn, value: booked_on}, {property: controlAmount, value: [amount]}]
    properties:
      - {name: payment_id, logicalType: string, description: Number., primaryKey: true,
         transformSourceObjects: [payments_file.booking]}
      - {name: loan_id, logicalType: string, description: Loan., required: true,
         transformSourceObjects: [payments_file.loan_no]}
      - {name: paid_on, logicalType: date, description: Day., required: true,
         transformSourceObjects: [payments_file.value_on]}
      - {name: amount, logicalType: number, physicalType: "decimal(18,2)", description: Paid., required: true,
         transformSourceObjects: [payments_file.amount]}
      - {name: currency, logicalType: string, description: Currency., required: true, transformLogic: "'EUR'"}
"""
LEDGER_POLICY = {
    "arrears_basis": "ledger",
    "feature_lag_days": 1,
    "label_horizon_months": 6,
    "observe_from_month": 6,
    "default_dpd_min": 90,
    "score_anchor": {"score": 600, "odds": 20},
}


def ledger_book(seed: int = 5, loans: int = 1200, months: int = 24) -> dict[str, pl.DataFrame]:
    """Return the loans, schedules and payments of a random book, by the name of their file.

    Each loan is for 2,400 and has 24 instalments of 110. About 40% of the borrowers are weak and often miss a payment.
    The more payments a borrower has missed, the more likely the next one is missed, too. Some borrowers pay off all
    their arrears at once.
    """
    random = np.random.default_rng(seed)
    lent, schedule, payments = [], [], []
    for n in range(loans):
        loan_no, opened = f"H{n:04}", dt.date(2021, 1, 1) + dt.timedelta(days=int(random.integers(0, 60)))
        lent.append((loan_no, f"Customer Number {n}", opened, "2400.00"))
        weak, behind = random.random() < 0.4, 0
        for k in range(1, months + 1):
            due_on = dt.date(opened.year + (opened.month - 1 + k) // 12, (opened.month - 1 + k) % 12 + 1, 15)
            schedule.append((loan_no, k, opened, due_on, "110.00", "10.00"))
            misses = random.random() < min(0.9, (0.08 if weak else 0.01) + 0.22 * behind)
            if misses:
                behind += 1
                continue
            catches_up = behind and random.random() < 0.3
            amount = 110 * (1 + behind) if catches_up else random.choice([110, 110, 110, 60]) if weak else 110
            behind = 0 if catches_up else behind
            value_on = due_on + dt.timedelta(days=int(random.integers(-3, 12 if weak else 2)))
            booked_on = value_on + dt.timedelta(days=int(random.integers(20, 50)) if random.random() < 0.01 else 0)
            payments.append((f"{loan_no}/{k}", loan_no, value_on, booked_on, f"{amount}.00"))
    columns = {
        "loans": ["loan_no", "customer", "paid_out_on", "lent"],
        "schedule": ["loan_no", "instalment", "paid_out_on", "due_on", "amount", "interest"],
        "payments": ["booking", "loan_no", "value_on", "booked_on", "amount"],
    }
    rows = {"loans": lent, "schedule": schedule, "payments": payments}
    return {name: pl.DataFrame(rows[name], schema=columns[name], orient="row") for name in rows}


def test_schedule_and_payments_to_scores_without_python(tmp_path):
    home, landing = home_of("harbour_credit", LEDGER_CONTRACT, LEDGER_POLICY, tmp_path)
    files = ledger_book()
    for name, frame in files.items():
        frame.write_csv(landing / f"{name}.csv")
    pipeline = load_pipeline(Settings(home=home, policy=home / "policy.yaml"))
    result = run_night(pipeline)
    assert result.exit is Exit.PUBLISHED, result.failures
    metrics = result.snapshot.metrics()
    assert metrics["ingest.harbour_credit.accepted_rows"] == sum(f.height for f in files.values())
    assert metrics["model.harbour_credit.auc_low"] > 0.6
    months = pl.read_parquet(result.snapshot.folder / "fct_loan_months.parquet")
    assert months["arrears_basis"].unique().to_list() == ["ledger"]
    last = months["month_on"].max()
    paid = files["payments"].filter(pl.col("value_on") <= last)["amount"].cast(pl.Decimal(18, 2)).sum()
    assert months["paid"].sum() == paid
    assert months.filter("is_default")["loan_id"].n_unique() > 100
    scores = pl.read_parquet(result.snapshot.folder / "scores.parquet")
    open_now = months.filter((pl.col("month_on") == last) & (pl.col("balance") > 0))
    assert scores.height == open_now.height > 500


def test_policy_that_names_no_contract_is_refused(tmp_path):
    from dagster_project.policy import PolicyError

    write_policy(tmp_path, policy_for("village_bank", POLICY))
    with pytest.raises(PolicyError, match=r"no contract for village_bank.*contract\.yaml"):
        load_pipeline(Settings(home=tmp_path, policy=tmp_path / "policy.yaml"))
