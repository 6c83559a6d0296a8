"""Tests that the adapter turns tapes of car loans into loans, statements and payments."""

import datetime as dt

import polars as pl

from dagster_project.ingestion.contracts.source import load_sources


def test_tapes_become_loans_statements_and_payments():
    source = load_sources()["ally_auto"]
    assert [source.contract.layout_of(n).name for n in ("loans.csv", "2017-05.csv")] == [
        "origination_tape",
        "monthly_tape",
    ]
    assert source.contract.layout_of("outcomes.csv") is None, "derived, for checking only: never an input"
    month = dt.date(2017, 5, 31)
    tape = pl.DataFrame(
        {
            "line_no": [2, 3],
            "assetNumber": ["1", "2"],
            "reportingPeriodEndingDate": [month, month],
            **{
                name: pl.Series(values, dtype=pl.Decimal(18, 2))
                for name, values in {
                    "reportingPeriodActualEndBalanceAmount": ["10.00", "20.00"],
                    "actualPrincipalCollectedAmount": ["1.00", "0.00"],
                    "totalActualAmountPaid": ["1.50", "0.00"],
                }.items()
            },
        }
    )
    made = source.adapt("monthly_tape", tape, source.contract)
    assert made["statements"]["known_at"].to_list() == [dt.date(2017, 6, 15)] * 2
    assert made["payments"]["payment_id"].to_list() == ["1-201705"]
