"""Tests that a receipt whose row counts do not add up is refused."""

import pytest

from dagster_project.ingestion import intake
from dagster_project.ingestion.intake import ingest
from dagster_project.ingestion.lake.receipts import IdentityError
from support.cards import CARDS, NOW


def test_receipt_that_does_not_add_up_is_refused(pipeline, drop, cards, monkeypatch):
    """A delivery is not committed if its adapter drops a line without reporting it."""
    card_file, line = cards
    lossy = intake.Source(CARDS.contract, lambda layout, frame, contract: CARDS.adapt(layout, frame.head(1), contract))
    drop(pipeline, "a.csv", card_file(line(1), line(2)))
    with pytest.raises(IdentityError, match="landed_rows"):
        ingest(lossy, pipeline.ingest_context, NOW)
    assert pipeline.ingest_context.book.all() == []
