"""Tests of tables that are made by the contract alone, of corrections, and of the columns that an adapter receives."""

import datetime as dt
from dataclasses import replace

import polars as pl
import pytest

from dagster_project.ingestion import intake
from dagster_project.ingestion.contracts.contract import Column, Contract, ContractError, Table
from dagster_project.ingestion.contracts.contract_adapter import adapt, refuse_corrections
from support.persons import PEOPLE, csv_of
from support.simulated_files import CORRECTED


def test_corrections_need_a_contract_without_adapter():
    with pytest.raises(ContractError, match="payments: corrections"):
        refuse_corrections("here", CORRECTED.contract)


DAY = dt.date(2024, 1, 1)


def test_each_line_gives_a_row_of_its_person():
    def column(name: str, origin: str | None = None) -> Column:
        return Column(name, pl.String(), "", required=True, key=True, classification="none", origin=origin)

    layout = Table("book", "", (column("loan"), column("who")), ())
    borrowers = Table("borrowers", "", (column("borrower_id", "who"),), (), made_from="book", event_on="day")
    loans = Table("loans", "", (column("loan_id", "loan"),), (), made_from="book", event_on="day")
    contract = Contract("s", "1", "", "EUR", 2, (layout,), (borrowers, loans))
    rows = {"line_no": [2, 3, 4], "loan": ["1", "2", "3"], "who": ["a", "b", "a"]}
    delivered = pl.DataFrame(rows).with_columns(day=pl.Series([DAY, DAY, DAY - dt.timedelta(days=9)]))
    made = adapt("book", delivered, contract)
    assert made["loans"].height == 3
    found = made["borrowers"].select("borrower_id", "line_no", "event_on").rows()
    assert found == [("a", 2, DAY), ("b", 3, DAY), ("a", 4, DAY - dt.timedelta(days=9))]


def test_an_adapter_never_sees_what_is_personal(lender):
    seen = []
    source = lender.sources["lender"]

    def adapt(layout, rows, contract):
        seen.extend(rows.columns)
        return source.adapt(layout, rows, contract)

    folder = lender.ingest_context.landing / "lender"
    folder.mkdir(parents=True)
    (folder / "people-1.csv").write_bytes(csv_of("people", *PEOPLE))
    intake.ingest(replace(source, adapt=adapt), lender.ingest_context, lender.now())
    assert "customer_no" in seen
    assert not {"name", "street"} & set(seen)
