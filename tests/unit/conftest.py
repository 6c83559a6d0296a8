"""Fixtures that the tests of several packages share: builders of card files, and a lender with personal data."""

import pytest

from support.cards import card_file, line
from support.persons import lender_in


@pytest.fixture
def cards():
    """Return the functions `card_file` and `line` of `support.cards`, which build the content of card files."""
    return card_file, line


@pytest.fixture
def lender(tmp_path):
    return lender_in(tmp_path / "home")
