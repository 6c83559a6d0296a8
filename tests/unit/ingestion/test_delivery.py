"""Tests that each delivery ends in exactly one state, and that all of its lines and cents are counted."""

import datetime as dt
from dataclasses import replace

import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dagster_project.ingestion.intake import ingest
from dagster_project.ingestion.lake.context import IngestContext
from dagster_project.ingestion.lake.receipts import State
from dagster_project.keys.master import load_keys
from dagster_project.keys.store import KeyStore
from support.cards import CARDS, NOW, raw, take_in


def test_good_file_becomes_canonical_tables(pipeline, drop, cards):
    card_file, line = cards
    receipt = take_in(pipeline, drop, "a.csv", card_file(line(1), line(2, paid="0.0")))
    assert (receipt.state, receipt.landed_rows, receipt.accepted_rows) == (State.ACCEPTED, 2, 2)
    assert receipt.accepted_minor == 10_000 + 150 + 150
    statements = raw(pipeline, receipt, "statements")
    assert statements.height == 12
    assert statements.schema["paid"] == pl.Decimal(18, 2)
    september = statements.filter((pl.col("loan_id") == "1") & (pl.col("month_on") == dt.date(2005, 9, 30)))
    assert september["known_at"].item() == dt.date(2005, 10, 15)
    # A month without a payment has none; the second account paid only in August.
    assert raw(pipeline, receipt, "payments")["payment_id"].sort().to_list() == ["1-200508", "1-200509", "2-200508"]
    assert not list(pipeline.ingest_context.landing.rglob("*.csv")), "the original has left the landing folder"


def test_borrower_is_a_pseudonym_and_the_loan_keeps_its_number(pipeline, drop, cards):
    card_file, line = cards
    receipt = take_in(pipeline, drop, "a.csv", card_file(line(4711)))
    loans = raw(pipeline, receipt, "loans")
    assert loans["loan_id"].item() == "4711"
    assert len(loans["borrower_id"].item()) == 32
    assert loans["borrower_id"].item() == raw(pipeline, receipt, "borrowers")["borrower_id"].item()


def test_quarantined_file_is_read_again_under_a_new_contract(pipeline, drop, cards):
    """A quarantined file that is delivered again is accepted if a new contract allows its values.

    Otherwise one wrong bound in the contract would exclude the file forever.
    """
    card_file, line = cards
    content = card_file(*(line(n, AGE="17") for n in range(1, 5)))
    assert take_in(pipeline, drop, "a.csv", content).state is State.QUARANTINED
    assert take_in(pipeline, drop, "a.csv", content).state is State.DUPLICATE, "the same contract says the same"
    (layout,) = CARDS.contract.layouts
    columns = tuple(replace(c, minimum=16) if c.name == "AGE" else c for c in layout.columns)
    mended = replace(CARDS.contract, version="1.1.0", layouts=(replace(layout, columns=columns),))
    drop(pipeline, "a.csv", content)
    (receipt,) = ingest(replace(CARDS, contract=mended), pipeline.ingest_context, NOW)
    assert (receipt.state, receipt.accepted_rows) == (State.ACCEPTED, 4)


def test_same_content_again_is_a_duplicate_under_any_name(pipeline, drop, cards):
    card_file, line = cards
    content = card_file(line(1), line(2))
    first = take_in(pipeline, drop, "a.csv", content)
    again = [take_in(pipeline, drop, f"{n}.csv", content) for n in range(9)]
    assert first.state is State.ACCEPTED
    assert [r.state for r in again] == [State.DUPLICATE] * 9
    assert sum(r.accepted_rows for r in pipeline.ingest_context.book.all()) == 2
    assert {r.duplicate_rows for r in again} == {2}


def test_second_delivery_of_a_single_delivery_source_is_held_back(pipeline, drop, cards):
    card_file, line = cards
    take_in(pipeline, drop, "a.csv", card_file(line(1)))
    receipt = take_in(pipeline, drop, "b.csv", card_file(line(2), line(3)))
    assert (receipt.state, receipt.landed_rows) == (State.QUARANTINED, 2)
    assert receipt.reason.startswith("unexpected_delivery")


CELL = st.one_of(
    st.decimals(-1000, 10**6, places=2).map(str),
    st.integers(-20, 10**5).map(str),
    st.text(st.characters(codec="utf-8", exclude_characters='\x00"\n\r,'), max_size=6),
    st.sampled_from(["", "NaN", "inf", "1e3", "0x1", "=1+1", "20000.0", "-0.00", "1.505"]),
)


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.lists(CELL, min_size=24, max_size=26), max_size=6),
    good=st.integers(1, 400),
    quote=st.sampled_from(["", "", "", '"']),
)
def test_identity_holds_for_any_file(rows, good, quote, cards, tmp_path_factory):
    """Each line counts once, as accepted, quarantined or duplicate, and so do its cents, whatever the cells contain."""
    card_file, line = cards
    home = tmp_path_factory.mktemp("any")
    keys = load_keys(None, None, production=False)
    store = KeyStore(home / "elsewhere/keys.sqlite", keys)
    context = IngestContext(home / "landing", home / "lake", keys, 0.05, store, home / "audit.head")
    folder = context.landing / "taiwan_cards"
    folder.mkdir(parents=True)
    content = card_file(*(line(n) for n in range(1, good + 1)), *(",".join(r) + quote for r in rows))
    (folder / "a.csv").write_bytes(content)
    (receipt,) = ingest(CARDS, context, NOW)
    assert receipt.landed_rows == content.count(b"\n") - 1, "counted in the bytes"
    assert receipt.landed_rows == receipt.accepted_rows + receipt.quarantined_rows + receipt.duplicate_rows
    assert receipt.landed_minor == receipt.accepted_minor + receipt.quarantined_minor + receipt.duplicate_minor
    if not rows:
        assert (receipt.state, receipt.accepted_rows) == (State.ACCEPTED, good)
    elif not quote and len(rows) <= 0.05 * receipt.landed_rows:
        assert good - len(rows) <= receipt.accepted_rows, "a bad row takes at most its own key with it"
    elif receipt.state is State.QUARANTINED:
        assert receipt.accepted_rows == 0
