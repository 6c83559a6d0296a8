"""A delivery ends in exactly one state, and no line and no cent is lost, whatever the file looks like."""

import datetime as dt
from dataclasses import replace

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dagster_project.ingestion import intake
from dagster_project.ingestion.contracts.source import load_sources
from dagster_project.ingestion.intake import ingest
from dagster_project.ingestion.lake.context import IngestContext
from dagster_project.ingestion.lake.landing import land_packaged
from dagster_project.ingestion.lake.receipts import IdentityError, ReceiptBook, State
from dagster_project.ingestion.parsing import records
from dagster_project.ingestion.parsing.parse import control_amounts
from dagster_project.ingestion.parsing.records import LINE_NO, LINES
from dagster_project.ingestion.parsing.row_rules import _matches, check_rows, read_as
from dagster_project.ingestion.persons.originals import open_row
from dagster_project.keys.master import load_keys
from dagster_project.keys.store import KeyStore

NOW = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
CARDS = load_sources()["taiwan_cards"]
SIMULATED_PAYMENTS = load_sources()["simulated"].contract.layout_of("payments-2024-01-01.csv")


def take_in(pipeline, drop, name, content):
    drop(pipeline, name, content)
    (receipt,) = ingest(CARDS, pipeline.ingest_context, NOW)
    assert receipt.landed_rows == receipt.accepted_rows + receipt.quarantined_rows + receipt.duplicate_rows
    assert receipt.landed_minor == receipt.accepted_minor + receipt.quarantined_minor + receipt.duplicate_minor
    return receipt


def raw(pipeline, receipt, table):
    paths = [pipeline.ingest_context.lake / f.path for f in receipt.files if f.table == table]
    return pl.read_parquet(paths)


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


@pytest.mark.parametrize("shape", ["crlf", "bom", "quoted", "no_last_newline"])
def test_harmless_shapes_are_accepted(pipeline, drop, cards, shape):
    card_file, line = cards
    content = card_file(line(1), line(2), end="\r\n" if shape == "crlf" else "\n")
    content = {
        "bom": b"\xef\xbb\xbf" + content,
        "quoted": content.replace(b"1000.0", b'"1000.0"'),
        "no_last_newline": content.rstrip(b"\n"),
    }.get(shape, content)
    receipt = take_in(pipeline, drop, "a.csv", content)
    assert (receipt.state, receipt.accepted_rows) == (State.ACCEPTED, 2)


@pytest.mark.parametrize(
    ("rule", "damage"),
    [
        ("empty_file", lambda c: b""),
        ("header_only", lambda c: c.split(b"\n")[0] + b"\n"),
        ("nul_byte", lambda c: c.replace(b"1000", b"1\x0000")),
        ("encoding", lambda c: c.replace(b"1000", b"1\xff00")),
        ("schema_drift", lambda c: c.replace(b"LIMIT_BAL", b"LIMIT")),
        ("schema_drift", lambda c: c.replace(b"ID,LIMIT_BAL", b"LIMIT_BAL,ID")),
        ("schema_drift", lambda c: c.replace(b",", b";")),
        ("unclosed_quote", lambda c: c.replace(b"1000.0", b'"1000.0', 1)),
        ("header_repeated", lambda c: c.split(b"\n")[0] + b"\n" + b"\n".join(c.split(b"\n")[:2]) + b"\n"),
        ("truncated", lambda c: c[:-20]),
        ("empty_file", lambda c: b"\xef\xbb\xbf"),
    ],
)
def test_unreadable_file_is_quarantined_whole(pipeline, drop, cards, rule, damage):
    card_file, line = cards
    receipt = take_in(pipeline, drop, "a.csv", damage(card_file(line(1), line(2))))
    assert receipt.state is State.QUARANTINED
    assert receipt.reason.startswith(rule)
    assert receipt.accepted_rows == 0
    assert receipt.landed_rows == (0 if rule in ("empty_file", "header_only") else 2)
    assert not list(pipeline.ingest_context.landing.rglob("*.csv"))


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
def test_bad_row_is_quarantined_alone_and_sealed(pipeline, drop, cards, rule, other):
    card_file, line = cards
    lines = [line(n) for n in range(1, 200)] + [line(200, **other)]
    receipt = take_in(pipeline, drop, "a.csv", card_file(*lines))
    assert (receipt.state, receipt.accepted_rows, receipt.quarantined_rows) == (State.PARTIAL, 199, 1)
    kept = raw(pipeline, receipt, "quarantine").row(0, named=True)
    assert (kept["line_no"], kept["rule"]) == (201, rule)
    # The value stands only in the sealed row, which opens with its own delivery and line.
    assert open_row(pipeline.ingest_context, receipt.source, receipt.sha256, 201, 1, kept["sealed_row"]) == lines[-1]
    assert all(value not in kept["message"] for value in other.values() if len(value) > 1)


def test_sealed_row_is_the_delivered_text(pipeline, drop, cards):
    """Quotes and all, or a repaired contract could not read it again."""
    card_file, line = cards
    odd = line(200).replace("1000.0", '"1,000.0"')
    receipt = take_in(pipeline, drop, "a.csv", card_file(*(line(n) for n in range(1, 200)), odd))
    kept = raw(pipeline, receipt, "quarantine").row(0, named=True)
    assert open_row(pipeline.ingest_context, receipt.source, receipt.sha256, 201, 1, kept["sealed_row"]) == odd


def test_newline_inside_quotes_is_one_row_on_two_lines(pipeline, drop, cards):
    """Accounting is by raw lines, so a record of two lines counts two, wherever it ends."""
    card_file, line = cards
    two = line(200).replace(",1,30,", ',1,"30\n",')
    assert two.count("\n") == 1
    receipt = take_in(pipeline, drop, "a.csv", card_file(*(line(n) for n in range(1, 201 - 1)), two, line(201)))
    assert (receipt.landed_rows, receipt.accepted_rows, receipt.quarantined_rows) == (202, 200, 2)


def test_stray_quotes_cannot_swallow_rows(pipeline, drop, cards):
    """Two stray quotes make one record of 490 lines: all of them count, and the file is not trusted."""
    card_file, line = cards
    lines = [line(n) for n in range(1, 1001)]
    lines[10] = lines[10].replace("1000.0", '"1000.0')
    lines[500] = lines[500].replace("1000.0", '1000.0"')
    receipt = take_in(pipeline, drop, "a.csv", card_file(*lines))
    assert (receipt.state, receipt.landed_rows, receipt.quarantined_rows) == (State.QUARANTINED, 1000, 1000)


def test_huge_amounts_do_not_overflow(pipeline, drop, cards):
    card_file, line = cards
    receipt = take_in(pipeline, drop, "a.csv", card_file(*(line(n, paid="9999999999999999.99") for n in range(40))))
    assert receipt.state is State.QUARANTINED
    assert 0 <= receipt.landed_minor == receipt.quarantined_minor < 10**6


def test_long_field_is_a_bad_row_and_not_an_unreadable_file(pipeline, drop, cards):
    card_file, line = cards
    long = line(200).replace("1000.0", '"' + "9" * 200_000 + '"')
    receipt = take_in(pipeline, drop, "a.csv", card_file(*(line(n) for n in range(1, 200)), long))
    assert (receipt.state, receipt.quarantined_rows) == (State.PARTIAL, 1)


def test_quarantined_file_is_read_again_under_a_new_contract(pipeline, drop, cards):
    """One wrong bound on the first night must not shut the file out for good."""
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


def test_users_own_file_goes_before_the_packaged_one(pipeline, drop, cards):
    card_file, line = cards
    path = drop(pipeline, "UCI_Credit_card.csv", card_file(line(1)))
    assert not land_packaged(CARDS, pipeline.ingest_context)
    assert path.stat().st_size < 1000


def test_file_with_many_bad_rows_is_not_trusted_in_the_others(pipeline, drop, cards):
    card_file, line = cards
    receipt = take_in(
        pipeline, drop, "a.csv", card_file(*(line(n) for n in range(98)), line(98, AGE="x"), line(99, AGE="x"))
    )
    assert (receipt.state, receipt.quarantined_rows) == (State.QUARANTINED, 100)
    assert receipt.quarantined_minor == receipt.landed_minor > 0


def test_repeated_rows(pipeline, drop, cards):
    """The same content twice is one row and a duplicate; two contents of one key are both held back."""
    card_file, line = cards
    lines = [line(n) for n in range(1, 301)] + [line(7), line(8, paid="9.00")]
    receipt = take_in(pipeline, drop, "a.csv", card_file(*lines))
    assert (receipt.accepted_rows, receipt.duplicate_rows, receipt.quarantined_rows) == (299, 1, 2)
    assert set(raw(pipeline, receipt, "quarantine")["rule"]) == {"key_conflict"}


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


def test_original_is_kept_for_its_owner_only(pipeline, drop, cards):
    card_file, line = cards
    receipt = take_in(pipeline, drop, "a.csv", card_file(line(1)))
    (kept,) = (pipeline.ingest_context.lake / "originals").rglob(f"{receipt.sha256}*")
    assert kept.stat().st_mode & 0o777 == 0o600


def test_clock_that_was_set_back_does_not_run_backwards(pipeline, drop, cards):
    card_file, line = cards
    first = take_in(pipeline, drop, "a.csv", card_file(line(1)))
    drop(pipeline, "b.csv", card_file(line(1)))
    (second,) = ingest(CARDS, pipeline.ingest_context, NOW - dt.timedelta(days=1))
    assert second.ingested_at == first.ingested_at


def test_crash_after_the_receipt_is_not_a_duplicate(pipeline, drop, cards, monkeypatch):
    card_file, line = cards
    drop(pipeline, "a.csv", card_file(line(1)))
    with monkeypatch.context() as patch:
        patch.setattr(intake, "_archive", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            ingest(CARDS, pipeline.ingest_context, NOW)
    assert ingest(CARDS, pipeline.ingest_context, NOW) == []
    assert [r.state for r in pipeline.ingest_context.book.all()] == [State.ACCEPTED]
    assert not list(pipeline.ingest_context.landing.rglob("*.csv"))


def test_crash_after_a_duplicates_receipt_counts_it_once(pipeline, drop, cards, monkeypatch):
    card_file, line = cards
    take_in(pipeline, drop, "a.csv", card_file(line(1)))
    drop(pipeline, "b.csv", card_file(line(1)))
    with monkeypatch.context() as patch:
        patch.setattr(intake, "_archive", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            ingest(CARDS, pipeline.ingest_context, NOW)
    drop(pipeline, "a2.csv", card_file(line(1)))
    assert [r.file_name for r in ingest(CARDS, pipeline.ingest_context, NOW)] == ["a2.csv"]
    assert [r.state for r in pipeline.ingest_context.book.all()] == [State.ACCEPTED, State.DUPLICATE, State.DUPLICATE]


def test_crash_while_originals_move_hides_no_later_duplicate(pipeline, drop, cards, monkeypatch):
    """The original was moved, and not marked: the same file dropped again is a duplicate, and not a leftover."""
    card_file, line = cards
    drop(pipeline, "a.csv", card_file(line(1)))
    with monkeypatch.context() as patch:
        patch.setattr(ReceiptBook, "mark_archived", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            ingest(CARDS, pipeline.ingest_context, NOW)
    assert not list(pipeline.ingest_context.landing.rglob("*.csv"))
    ingest(CARDS, pipeline.ingest_context, NOW)
    drop(pipeline, "a.csv", card_file(line(1)))
    assert [r.state for r in ingest(CARDS, pipeline.ingest_context, NOW)] == [State.DUPLICATE]


def test_crash_before_the_receipt_leaves_nothing_that_counts(pipeline, drop, cards, monkeypatch):
    card_file, line = cards
    drop(pipeline, "a.csv", card_file(line(1)))
    with monkeypatch.context() as patch:
        patch.setattr(type(pipeline.ingest_context.book), "commit", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            ingest(CARDS, pipeline.ingest_context, NOW)
    assert pipeline.ingest_context.book.all() == []
    (receipt,) = ingest(CARDS, pipeline.ingest_context, NOW)
    assert (receipt.state, receipt.accepted_rows) == (State.ACCEPTED, 1)


def test_receipt_that_does_not_add_up_is_refused(pipeline, drop, cards, monkeypatch):
    """An adapter that loses a line cannot commit."""
    card_file, line = cards
    lossy = intake.Source(CARDS.contract, lambda layout, frame, contract: CARDS.adapt(layout, frame.head(1), contract))
    drop(pipeline, "a.csv", card_file(line(1), line(2)))
    with pytest.raises(IdentityError, match="landed_rows"):
        ingest(lossy, pipeline.ingest_context, NOW)
    assert pipeline.ingest_context.book.all() == []


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
    """Whatever the cells hold, every raw line ends in exactly one place, and so do the cents."""
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


FIELDS = st.text(st.sampled_from('1a.,-\n\r"\x00é '), max_size=4)


@given(st.lists(st.lists(FIELDS, min_size=7, max_size=9), max_size=5), st.sampled_from(["", "\n", "\n\n"]))
def test_plain_reading_is_reading_record_by_record(rows, end):
    """Where Polars reads a file in one go, it reads what the careful way reads; every other file it leaves alone."""
    layout = SIMULATED_PAYMENTS
    content = ("\n".join([",".join(layout.schema), *(",".join(row) for row in rows)]) + end).encode()
    plain = records._read_plain(content, layout)
    if plain is None:
        return
    careful = records._read_by_record(content, layout)
    assert plain.text.equals(careful.text)
    assert plain.ragged.equals(careful.ragged)
    assert plain.landed == careful.landed
    assert plain.raw_record(2, 1) == careful.raw_record(2, 1)


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
    """A column that is constant is read once: each row must fare as it does in a file where no column is."""
    layout, columns = SIMULATED_PAYMENTS, list(SIMULATED_PAYMENTS.schema)
    schema = {LINE_NO: pl.Int64, LINES: pl.Int64} | dict.fromkeys(columns, pl.String)
    assert layout.key == (columns[0],)

    def judged(*together):
        numbered = [[n, 1, str(n), *row[1:]] for n, row in enumerate(together, 2)]  # no row repeats another
        read = read_as(pl.DataFrame(numbered, schema=schema, orient="row"), layout)
        return check_rows(read, layout), control_amounts(read, layout)

    alone, amounts = judged(*rows)
    among, all_amounts = judged(*rows, ["mixed"] * WIDTH, [None] * WIDTH)
    last = len(rows) + 2
    assert alone.bad.equals(among.bad.filter(pl.col(LINE_NO) < last))
    assert alone.good.equals(among.good.filter(pl.col(LINE_NO) < last))
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


def test_plain_files_are_read_in_one_go():
    """The comparison above is worth something."""
    columns = list(SIMULATED_PAYMENTS.schema)
    rows = [columns, [str(n) for n in range(len(columns))], [""] * len(columns)]
    content = "".join(",".join(row) + "\n" for row in rows)
    assert records._read_plain(content.encode(), SIMULATED_PAYMENTS) is not None
