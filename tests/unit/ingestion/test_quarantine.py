"""Quarantined rows are kept as they were delivered."""

from dagster_project.ingestion.persons.originals import open_row
from support.cards import raw, take_in


def test_sealed_row_is_the_delivered_text(pipeline, drop, cards):
    """Quotes and all, or a repaired contract could not read it again."""
    card_file, line = cards
    odd = line(200).replace("1000.0", '"1,000.0"')
    receipt = take_in(pipeline, drop, "a.csv", card_file(*(line(n) for n in range(1, 200)), odd))
    kept = raw(pipeline, receipt, "quarantine").row(0, named=True)
    assert open_row(pipeline.ingest_context, receipt.source, receipt.sha256, 201, 1, kept["sealed_row"]) == odd
