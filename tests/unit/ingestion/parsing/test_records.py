"""Tests of how bytes become records: harmless differences in format, unreadable files, and quotes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_project.ingestion.contracts.source import load_sources
from dagster_project.ingestion.lake.receipts import State
from dagster_project.ingestion.parsing import records
from support.cards import take_in

SIMULATED_PAYMENTS = load_sources()["simulated"].contract.layout_of("payments-2024-01-01.csv")


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


def test_newline_inside_quotes_is_one_row_on_two_lines(pipeline, drop, cards):
    """A record with a line break in a quoted field counts as two rows.

    All counts are numbers of lines in the file, so a record on two lines counts as two wherever rows are counted.
    """
    card_file, line = cards
    two = line(200).replace(",1,30,", ',1,"30\n",')
    assert two.count("\n") == 1
    receipt = take_in(pipeline, drop, "a.csv", card_file(*(line(n) for n in range(1, 201 - 1)), two, line(201)))
    assert (receipt.landed_rows, receipt.accepted_rows, receipt.quarantined_rows) == (202, 200, 2)


def test_stray_quotes_cannot_swallow_rows(pipeline, drop, cards):
    """Two stray quotes that join hundreds of lines into one record do not make any line disappear from the counts.

    All 1,000 lines are counted, and the whole file is quarantined.
    """
    card_file, line = cards
    lines = [line(n) for n in range(1, 1001)]
    lines[10] = lines[10].replace("1000.0", '"1000.0')
    lines[500] = lines[500].replace("1000.0", '1000.0"')
    receipt = take_in(pipeline, drop, "a.csv", card_file(*lines))
    assert (receipt.state, receipt.landed_rows, receipt.quarantined_rows) == (State.QUARANTINED, 1000, 1000)


def test_long_field_is_a_bad_row_and_not_an_unreadable_file(pipeline, drop, cards):
    card_file, line = cards
    long = line(200).replace("1000.0", '"' + "9" * 200_000 + '"')
    receipt = take_in(pipeline, drop, "a.csv", card_file(*(line(n) for n in range(1, 200)), long))
    assert (receipt.state, receipt.quarantined_rows) == (State.PARTIAL, 1)


FIELDS = st.text(st.sampled_from('1a.,-\n\r"\x00é '), max_size=4)


@given(st.lists(st.lists(FIELDS, min_size=7, max_size=9), max_size=5), st.sampled_from(["", "\n", "\n\n"]))
def test_fast_reading_equals_reading_record_by_record(rows, end):
    """The fast reader returns the same records as the reader that goes record by record.

    The fast reader returns None for a file that is not simple enough. There is nothing to compare in this case.
    """
    layout = SIMULATED_PAYMENTS
    content = ("\n".join([",".join(layout.schema), *(",".join(row) for row in rows)]) + end).encode()
    fast = records.read_plain(content, layout)
    if fast is None:
        return
    careful = records._read_by_record(content, layout)
    assert fast.text.equals(careful.text)
    assert fast.ragged.equals(careful.ragged)
    assert fast.landed == careful.landed
    assert fast.raw_record(2, 1) == careful.raw_record(2, 1)


def test_simple_files_take_the_fast_path():
    """The fast reader reads simple files.

    This shows that the previous test does not skip every file.
    """
    columns = list(SIMULATED_PAYMENTS.schema)
    rows = [columns, [str(n) for n in range(len(columns))], [""] * len(columns)]
    content = "".join(",".join(row) + "\n" for row in rows)
    assert records.read_plain(content.encode(), SIMULATED_PAYMENTS) is not None
