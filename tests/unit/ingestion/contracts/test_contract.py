"""Tests of reading contracts: column types and classifications are read, and invalid contracts are refused."""

import polars as pl
import pytest

from dagster_project.home.settings import PROJECT_ROOT
from dagster_project.ingestion.contracts.contract import MONEY, ContractError, load_contract
from support.persons import CONTRACT, lender_in

CARDS_CONTRACT = PROJECT_ROOT / "dagster_project/ingestion/contracts/sources/taiwan_cards/contract.yaml"


def test_money_is_decimal_and_sensitive_columns_are_classed():
    contract = load_contract(CARDS_CONTRACT)
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
    path.write_text(CARDS_CONTRACT.read_text().replace(old, new))
    with pytest.raises(ContractError, match=says) as error:
        load_contract(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (  # a name in a column that nobody looks at
            "transformLogic: \"'instalment_loan'\"}",
            "transformSourceObjects: [agreements.customer_no]}",
            "product would bring agreements.customer_no into the lake, which is identifier",
        ),
        (
            "{name: sex, logicalType: integer, description: Column., classification: sensitive,"
            " transformSourceObjects: [people.sex]}",
            "{name: sex, logicalType: integer, description: Column., transformSourceObjects: [people.sex]}",
            "sex would bring people.sex into the lake, which is sensitive",
        ),
        (
            "{name: account_id, logicalType: string, description: Column., classification: identifier,"
            " transformSourceObjects: [people.account_no]}",
            "{name: account_id, logicalType: string, description: Column., classification: identifier,"
            " transformSourceObjects: [people.street]}",
            "account_id would bring people.street into the lake, which is personal",
        ),
        (
            "{name: payer_id, logicalType: string, description: Column., classification: identifier,",
            "{name: payer_id, logicalType: string, description: Column.,",
            "payer_id must have the classification 'identifier'",
        ),
        (
            "{name: original_amount, logicalType: number,",
            "{name: original_amount, logicalType: number, classification: sensitive,",
            "original_amount is sensitive: only borrower_attributes",
        ),
        (
            "{name: original_amount, logicalType: number,",
            "{name: original_amount, logicalType: number, classification: personal,",
            "original_amount is personal: personal values never enter",
        ),
        (
            "{name: loan_id, logicalType: string, description: Column., primaryKey: true,"
            " transformSourceObjects: [agreements.loan_no]}",
            "{name: loan_id, logicalType: string, description: Column., primaryKey: true, classification: identifier,"
            " transformSourceObjects: [agreements.loan_no]}",
            "loan_id: classified as identifier in some tables, but not in all",
        ),
    ],
    ids=["identifier", "sensitive", "personal origin", "pseudonym", "sensitive table", "personal column", "one table"],
)
def test_contract_that_lets_personal_data_into_the_lake_is_refused(tmp_path, old, new, says):
    assert old in CONTRACT
    with pytest.raises(ContractError, match=says):
        lender_in(tmp_path / "home", CONTRACT.replace(old, new))
