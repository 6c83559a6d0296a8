"""Tests of rows whose dates cannot be right: each is quarantined with its rule, and every other row is accepted."""

import datetime as dt

import polars as pl
import pytest

from dagster_project.ingestion.lake.receipts import State
from dagster_project.ingestion.quarantine import held
from dagster_project.ingestion.readmit import readmit
from support.persons import NOW, agreement, csv_of, deliver, person, raw, transfer

TOMORROW, LATER = "2026-01-03", "2026-01-04"  # the files are ingested on 2026-01-02


def month(n: int, month_end: str) -> dict[str, str]:
    return {"loan_no": f"L{n}", "month_end": month_end, "open": "2900.00", "paid_in": "100.00", "repaid": "100.00"}


WRONG = [
    ("transfers", transfer(1, paid_on="2099-01-01"), "in_the_future"),
    ("transfers", transfer(1, paid_on=LATER), "in_the_future"),
    ("transfers", transfer(1, paid_on="0001-01-01"), "too_early"),
    ("agreements", agreement(1, signed_on="2042-05-01"), "in_the_future"),
    ("agreements", agreement(1, signed_on="0018-03-31"), "too_early"),
    ("agreements", agreement(1, signed_on="1899-12-31"), "too_early"),
    ("months", month(1, "2026-01-31"), "in_the_future"),
    ("months", month(1, "1018-03-31"), "too_early"),
    ("months", month(1, "2018-03-01"), "no_month_end"),
    ("months", month(1, "2018-03-30"), "no_month_end"),  # the last working day
    ("months", month(1, "2020-02-28"), "no_month_end"),
    ("people", person(1, reported_on="2099-12-31"), "in_the_future"),
]
GOOD = {
    "transfers": [transfer(2), transfer(3, paid_on=TOMORROW)],
    "agreements": [agreement(2), agreement(3, signed_on="1900-01-01")],
    "months": [month(2, "2018-03-31"), month(3, "2020-02-29"), month(2, "2025-12-31")],
    "people": [person(2), person(3)],
}


@pytest.mark.parametrize(("file", "row", "rule"), WRONG)
def test_row_with_an_impossible_date_is_quarantined_and_all_others_are_accepted(lender, file, row, rule):
    good = GOOD[file]
    [receipt] = deliver(lender, {f"{file}-1.csv": csv_of(file, good[0], row, *good[1:])})
    assert receipt.state == State.PARTIAL
    assert (receipt.accepted_rows, receipt.quarantined_rows) == (len(good), 1)
    line = held(lender.ingest_context, "lender").row(0, named=True)
    assert (line["line_no"], line["rule"]) == (3, rule)
    date = next(value for name, value in row.items() if name.endswith(("_on", "_end")))
    assert date not in line["message"], "a message never quotes a value"


def test_file_with_only_impossible_dates_stops_no_other_file(lender):
    wrong = [transfer(n, paid_on="2099-01-01") for n in range(5)]
    refused, accepted = deliver(
        lender, {"transfers-1.csv": csv_of("transfers", *wrong), "transfers-2.csv": csv_of("transfers", transfer(9))}
    )
    assert (refused.state, accepted.state) == (State.QUARANTINED, State.ACCEPTED)
    assert raw(lender, "payments")["payment_id"].to_list() == ["T9"]


def test_two_statements_in_a_month_are_told_apart_by_the_month_end(lender):
    [receipt] = deliver(lender, {"months-1.csv": csv_of("months", month(1, "2018-03-15"), month(1, "2018-03-31"))})
    assert (receipt.accepted_rows, receipt.quarantined_rows) == (1, 1)
    assert raw(lender, "statements")["month_on"].to_list() == [dt.date(2018, 3, 31)]


def test_row_is_readmitted_once_its_day_has_come(lender):
    deliver(lender, {"transfers-1.csv": csv_of("transfers", transfer(1), transfer(2, paid_on=LATER))})
    for now, admitted in ((NOW, 0), (NOW + dt.timedelta(days=2), 1)):
        done = readmit(lender.sources["lender"], lender.ingest_context, now)
        assert sum(r.accepted_rows for r in done.receipts) == admitted
    assert raw(lender, "payments").filter(pl.col("payment_id") == "T2").height == 1
