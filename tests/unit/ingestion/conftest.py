"""A fixture with the ingest context of an empty home."""

import pytest

from support.homes import pipeline_in


@pytest.fixture
def context(tmp_path):
    return pipeline_in(tmp_path / "home").ingest_context
