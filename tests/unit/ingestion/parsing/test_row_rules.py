"""Tests of which rows are bad and by which rule, and that no message contains a value of a row."""

import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_project.ingestion.contracts.source import load_sources
from dagster_project.ingestion.lake.receipts import State
from dagster_project.ingestion.parsing.parse import control_amounts
from dagster_project.ingestion.parsing.records import LINE_NO, LINES
from dagster_project.ingestion.parsing.row_rules import _matches, check_rows, read_as
from dagster_project.ingestion.persons.originals import open_row
from support.cards import raw, take_in
from support.persons import csv_of, deliver, person

SIMULATED_PAYMENTS = load_sources()["simulated"].contract.layout_of("payments-2024-01-01.csv")
BAD_LINES = {
    "PAY_AMT1:money": {"paid": "1e3"},
    "PAY_AMT1:minimum": {"paid": "-5.00"},
    "LIMIT_BAL:money": {"LIMIT_BAL": "10.005"},
    "BILL_AMT1:money": {"BILL_AMT1": "NaN"},
    "AGE:integer": {"AGE": "thirty"},
    "AGE:minimum": {"AGE": "3"},
    "PAY_0:maximum": {"PAY_0": "12"},
    "SEX:required": {"SEX": ""},
    "PAY_AMT2:maximum": {"PAY_AMT2": "9999999999999999.99"},
    "PAY_AMT3:money": {"PAY_AMT3": "\u0661\u0662"},  # digits of another script
    "ID:integer": {"ID": "\u0663"},
    "ragged": {"AGE": "30,31"},
}


@pytest.mark.parametrize(("rule", "other"), BAD_LINES.items())
def test_only_the_bad_row_is_quarantined_and_it_is_sealed(pipeline, drop, cards, rule, other):
    card_file, line = cards
    lines = [line(n) for n in range(1, 200)] + [line(200, **other)]
    receipt = take_in(pipeline, drop, "a.csv", card_file(*lines))
    assert (receipt.state, receipt.accepted_rows, receipt.quarantined_rows) == (State.PARTIAL, 199, 1)
    kept = raw(pipeline, receipt, "quarantine").row(0, named=True)
    assert (kept["line_no"], kept["rule"]) == (201, rule)
    # The value is only in the sealed row, which opens with its own delivery and line.
    assert open_row(pipeline.ingest_context, receipt.source, receipt.sha256, 201, 1, kept["sealed_row"]) == lines[-1]
    assert all(value not in kept["message"] for value in other.values() if len(value) > 1)


def test_huge_amounts_do_not_overflow(pipeline, drop, cards):
    card_file, line = cards
    receipt = take_in(pipeline, drop, "a.csv", card_file(*(line(n, paid="9999999999999999.99") for n in range(40))))
    assert receipt.state is State.QUARANTINED
    assert 0 <= receipt.landed_minor == receipt.quarantined_minor < 10**6


CELLS = st.sampled_from(
    [
        None,
        "1",
        "-1",
        "007",
        "1.5",
        "1.505",
        "1e3",
        "2020-02-29",
        "2021-02-29",
        "2020-2-9",
        "EUR",
        "cash",
        "cash\n",
        "x",
    ]
)
WIDTH = len(SIMULATED_PAYMENTS.schema)


@given(st.lists(st.lists(CELLS, min_size=WIDTH, max_size=WIDTH), min_size=1, max_size=4))
def test_column_with_one_value_is_judged_as_any_other(rows):
    """The rows of a column in which all values are equal get the same verdicts as in a column with different values.

    As an optimisation, a column with only one value is checked once for all rows. The test checks the rows alone, and
    then together with two rows that have other values, and compares the results.
    """
    layout, columns = SIMULATED_PAYMENTS, list(SIMULATED_PAYMENTS.schema)
    schema = {LINE_NO: pl.Int64, LINES: pl.Int64} | dict.fromkeys(columns, pl.String)
    assert layout.key == (columns[0],)

    def judged(*together):
        numbered = [[n, 1, str(n), *row[1:]] for n, row in enumerate(together, 2)]  # no row repeats another
        read = read_as(pl.DataFrame(numbered, schema=schema, orient="row"), layout)
        return check_rows(read, layout), control_amounts(read, layout)

    by_itself, amounts = judged(*rows)
    among, all_amounts = judged(*rows, ["mixed"] * WIDTH, [None] * WIDTH)
    last = len(rows) + 2
    assert by_itself.bad.equals(among.bad.filter(pl.col(LINE_NO) < last))
    assert by_itself.good.equals(among.good.filter(pl.col(LINE_NO) < last))
    assert amounts.equals(all_amounts.filter(pl.col(LINE_NO) < last))


def test_rows_that_are_all_alike_and_bad_are_each_of_them_bad():
    schema = {LINE_NO: pl.Int64, LINES: pl.Int64} | dict.fromkeys(SIMULATED_PAYMENTS.schema, pl.String)
    text = pl.DataFrame([[n, 1, *["x"] * WIDTH] for n in (2, 3, 4)], schema=schema, orient="row")
    checked = check_rows(read_as(text, SIMULATED_PAYMENTS), SIMULATED_PAYMENTS)
    assert checked.bad[LINE_NO].to_list() == [2, 3, 4]
    assert checked.good.is_empty()


@pytest.mark.parametrize(
    "pattern", ["^EUR$", "^(a|b)$", "^a|b$", "^(a)|b$", "^(a.b|a)$", "^(a|)$", "^a$|^b$", "a", "^é$"]
)
def test_few_words_are_looked_for_as_their_pattern_would(pattern):
    texts = pl.DataFrame({"x": ["EUR", "EUR\n", "eur", "a", "b", "ab", "xb", "a.b", "axb", "", "é", None]})
    found = texts.select(_matches(pl.col("x"), pattern), pl.col("x").str.contains(pattern).alias("searched"))
    assert found["x"].equals(found["searched"])


def test_no_message_contains_a_value(lender):
    """The messages about quarantined rows and files name columns and places, but contain no values of the rows."""
    good = [person(n) for n in range(300)]
    bad = csv_of("people", *good, person(301, reported_on="31.3.18"), more="Ilse Quandt-00302,C100302\n")
    shifted = csv_of("people", person(1)).replace(b"customer_no", b"C100303")
    receipts = deliver(lender, {"people-1.csv": bad, "people-2.csv": shifted})
    held = [r for r in receipts if r.state is not State.ACCEPTED]
    assert len(held) == 2
    frames = [
        pl.read_parquet(lender.ingest_context.lake / f.path) for r in held for f in r.files if f.table == "quarantine"
    ]
    text = json.dumps([r.reason for r in held]) + "".join(f.drop("sealed_row").write_json() for f in frames)
    assert "reported_on" in text
    assert not [w for w in ("Quandt", "C1003", "DE55", "31.3.18") if w in text]
