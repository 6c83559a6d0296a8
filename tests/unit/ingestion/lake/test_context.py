"""Tests that a lake can only be used with the key with which it was created."""

from dataclasses import replace

import pytest

from dagster_project.ingestion.intake import ingest
from dagster_project.keys.master import MasterKeyError, load_keys
from support.cards import CARDS, NOW


def test_lake_keeps_to_the_key_that_it_was_begun_with(lake):
    """A lake that was created with the public development key refuses a production key.

    With the production key, the lake would look protected, although anybody can compute its older pseudonyms.
    """
    lake.check_key()
    other = replace(lake, keys=load_keys("11" * 32, None, production=True))
    with pytest.raises(MasterKeyError, match="made with another key"):
        other.check_key()
    with pytest.raises(MasterKeyError, match="made with another key"):
        ingest(CARDS, other, NOW)
