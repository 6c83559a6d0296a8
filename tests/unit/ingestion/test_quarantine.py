"""Tests that quarantined rows are stored exactly as they were delivered."""

from dagster_project.ingestion.persons.originals import open_row
from dagster_project.ingestion.quarantine import WHOLE_FILE, held
from support.cards import raw, take_in


def test_sealed_row_is_the_delivered_text(pipeline, drop, cards):
    """The encrypted text of a quarantined row is the delivered text, including its quotes.

    Without the quotes, the row could not be read again under a repaired contract.
    """
    card_file, line = cards
    odd = line(200).replace("1000.0", '"1,000.0"')
    receipt = take_in(pipeline, drop, "a.csv", card_file(*(line(n) for n in range(1, 200)), odd))
    kept = raw(pipeline, receipt, "quarantine").row(0, named=True)
    assert open_row(pipeline.ingest_context, receipt.source, receipt.sha256, 201, 1, kept["sealed_row"]) == odd


def test_refused_file_without_a_line_is_listed(pipeline, drop, cards):
    """An empty file that was refused has no rows in quarantine, but the list names it, so that somebody looks at it."""
    receipt = take_in(pipeline, drop, "a.csv", b"")
    (row,) = held(pipeline.ingest_context).to_dicts()
    assert (receipt.quarantined_rows, row["file_name"], row["line_no"]) == (0, "a.csv", WHOLE_FILE)
    assert (row["rule"], row["lines"]) == ("empty_file", 0)
