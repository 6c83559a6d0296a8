"""Contracts are read strictly, and everything else is derived from them."""

import polars as pl
import pytest

from dagster_project.home.settings import PROJECT_ROOT, Settings
from dagster_project.ingestion.contracts.contract import MONEY, ContractError, load_contract
from dagster_project.ingestion.contracts.dbt_sources import SOURCES_FILE, sources_yaml
from dagster_project.night.pipeline import load_pipeline
from dagster_project.policy import PolicyError, dbt_vars, load_policy

CONTRACT = PROJECT_ROOT / "dagster_project/ingestion/contracts/sources/taiwan_cards/contract.yaml"
POLICY = PROJECT_ROOT / "policy/default.yaml"


def test_dbts_source_file_is_the_one_of_the_canonical_tables():
    assert (PROJECT_ROOT / "dbt/models/staging" / SOURCES_FILE).read_text() == sources_yaml(), "run `make sources`"


def test_money_is_decimal_and_sensitive_columns_are_classed():
    contract = load_contract(CONTRACT)
    assert contract.table("payments").schema["amount"] == MONEY
    assert not any(c.dtype.is_float() for t in contract.tables for c in t.columns)
    classes = {c.name: c.classification for c in contract.table("borrower_attributes").columns}
    assert classes == {
        "borrower_id": "identifier",
        "sex": "sensitive",
        "age": "sensitive",
        "marriage": "sensitive",
        "education": "sensitive",
    }
    assert contract.table("loans").schema["opened_on"] == pl.Date


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("kind: DataContract", "kin: DataContract", "Open Data Contract"),
        ("logicalType: date", "logicalType: moon", "logicalType 'moon'"),
        ("classification: sensitive", "classification: secret", "classification 'secret'"),
        ("classification: identifier", "classification: none", "borrower_id must have the classification"),
        ("value: [amount]", "value: [paid_on]", "are not amount columns"),
        ("{property: currency, value: TWD}", "{property: coin, value: TWD}", "lacks 'currency'"),
        ("physicalType: file", "physicalType: folder", "an object with physicalType 'file'"),
        ("name: outcomes", "name: omens", "omens is not a canonical table"),
        ("name: status_code", "name: status", "statements.status is not a canonical column"),
    ],
)
def test_broken_contract_is_refused_with_file_and_place(tmp_path, old, new, says):
    path = tmp_path / "contract.yaml"
    path.write_text(CONTRACT.read_text().replace(old, new))
    with pytest.raises(ContractError, match=says) as error:
        load_contract(path)
    assert str(path) in str(error.value)


def test_policy_and_contracts_name_the_same_sources(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY.read_text().replace("  taiwan_cards:", "  taiwan_card:"))
    with pytest.raises(PolicyError, match=r"policy.yaml:\d+: sources.taiwan_card: .*no contract for taiwan_card;"):
        load_pipeline(Settings(home=tmp_path, policy=path))


def test_dbt_gets_the_policys_values():
    values = dbt_vars(load_policy(POLICY))
    assert values["feature_lag_days"] == {"taiwan_cards": 15, "ally_auto": 15, "simulated": 1}
    assert values["default_status_min"] == {"taiwan_cards": 3, "ally_auto": None, "simulated": None}
    assert values["deferral_from"] == {"taiwan_cards": None, "ally_auto": "2020-03-01", "simulated": None}
