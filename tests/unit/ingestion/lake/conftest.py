"""A fixture with a lake that contains one accepted file of card accounts."""

import pytest

from dagster_project.ingestion.intake import ingest
from support.cards import CARDS, NOW


@pytest.fixture
def lake(pipeline, drop, cards):
    card_file, line = cards
    drop(pipeline, "a.csv", card_file(line(1), line(2)))
    ingest(CARDS, pipeline.ingest_context, NOW)
    return pipeline.ingest_context
