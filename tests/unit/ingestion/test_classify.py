"""Tests of how rows are classified as accepted, duplicate or quarantined, and of files with too many bad rows."""

import datetime as dt
from dataclasses import replace

import polars as pl

from dagster_project.ingestion.classify import classify
from dagster_project.ingestion.contracts.contract import Column, Contract, Table
from dagster_project.ingestion.contracts.contract_adapter import adapt
from dagster_project.ingestion.contracts.source import Source
from dagster_project.ingestion.delivery import blank_receipt
from dagster_project.ingestion.lake.receipts import State
from dagster_project.ingestion.lake.row_index import KnownRows
from dagster_project.ingestion.parsing.manifest import Manifest
from dagster_project.ingestion.parsing.parse import Delivered, parse
from support.cards import raw, take_in
from support.simulated_files import SIMULATED, drop_file, ingest_waiting, loan, payment, rows


def test_file_with_many_bad_rows_is_not_trusted_in_the_others(pipeline, drop, cards):
    card_file, line = cards
    receipt = take_in(
        pipeline, drop, "a.csv", card_file(*(line(n) for n in range(98)), line(98, AGE="x"), line(99, AGE="x"))
    )
    assert (receipt.state, receipt.quarantined_rows) == (State.QUARANTINED, 100)
    assert receipt.quarantined_minor == receipt.landed_minor > 0


def test_repeated_rows(pipeline, drop, cards):
    """A row that is repeated in the same file is a duplicate.

    If two rows of the file have the same key and different content, both are quarantined.
    """
    card_file, line = cards
    lines = [line(n) for n in range(1, 301)] + [line(7), line(8, paid="9.00")]
    receipt = take_in(pipeline, drop, "a.csv", card_file(*lines))
    assert (receipt.accepted_rows, receipt.duplicate_rows, receipt.quarantined_rows) == (299, 1, 2)
    assert set(raw(pipeline, receipt, "quarantine")["rule"]) == {"key_conflict"}


def test_payment_before_opening_and_of_an_unknown_loan(context):
    drop_file(context, "loans-2024-01-01.csv", loan(1, "2024-01-01"), loan(2, "2024-03-01"))
    lines = [payment(n, loan=f"{n:08}", day="2024-02-01") for n in (1, 2, 3)]
    drop_file(context, "payments-2024-02-01.csv", *lines)
    _, receipt = ingest_waiting(context)
    assert (receipt.accepted_rows, receipt.quarantined_rows) == (2, 1)
    held = rows(context, "quarantine").row(0, named=True)
    assert (held["rule"], held["line_no"], held["minor"]) == ("before_opening", 3, 500)


def test_other_currency_than_the_contracts(context):
    """A payment in a currency other than the contract's is quarantined.

    This also holds if the layout of the file has no pattern for the currency.
    """
    layouts = tuple(
        replace(t, columns=tuple(replace(c, pattern=None) if c.name == "currency" else c for c in t.columns))
        for t in SIMULATED.contract.layouts
    )
    drop_file(context, "payments-2024-02-01.csv", payment(1), payment(2, currency="USD"))
    source = replace(SIMULATED, contract=replace(SIMULATED.contract, layouts=layouts))
    (receipt,) = ingest_waiting(context, source)
    assert (receipt.accepted_rows, receipt.quarantined_rows) == (1, 1)
    assert rows(context, "quarantine")["rule"].to_list() == ["other_currency"]


def test_person_is_one_row_of_the_earliest_accepted_line(context):
    """A person with several loans in a file gets one row, from the accepted line with the earliest date.

    Person `a` has three loans. The line with the earliest date is rejected because of its currency, so the row comes
    from line 5.
    """

    def column(name: str, **more) -> Column:
        given = {"dtype": pl.String(), "required": True, "key": False, "classification": "none"} | more
        return Column(name, description="", **given)

    who = {"key": True, "classification": "identifier", "origin": "who"}
    layout = Table(
        "book",
        "",
        (
            column("loan", key=True),
            column("who", classification="identifier"),
            column("currency"),
            column("day", dtype=pl.Date()),
        ),
        (),
    )
    borrowers = Table("borrowers", "", (column("borrower_id", **who),), (), made_from="book", event_on="day")
    loans = Table(
        "loans",
        "",
        (column("loan_id", key=True, origin="loan"), column("currency", origin="currency")),
        (),
        made_from="book",
        event_on="day",
    )
    contract = Contract("book", "1", "", "EUR", 2, (layout,), (borrowers, loans))
    content = b"loan,who,currency,day\n1,a,USD,2024-01-01\n2,b,EUR,2024-01-05\n3,a,EUR,2024-01-09\n4,a,EUR,2024-01-05\n"
    source, file = Source(contract, adapt), Delivered("book.csv", content, "0" * 64, Manifest())
    known_rows = KnownRows(contract, context.lake, [])
    receipt = blank_receipt(file, source, dt.datetime(2024, 2, 1))
    outcome = classify(parse(file, contract), source, context, known_rows, receipt, compare=False)
    assert outcome.rejected.select("line_no", "rule").rows() == [(2, "other_currency")]
    assert outcome.tables["loans"]["line_no"].to_list() == [3, 4, 5]
    assert sorted(outcome.tables["borrowers"]["line_no"]) == [3, 5]
