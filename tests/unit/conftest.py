"""Fixtures of several packages' tests: card files by hand, and a lender whose files hold persons."""

import pytest

from support.cards import card_file, line
from support.persons import lender_in


@pytest.fixture
def cards():
    """(card_file, line), so that tests need not import from here."""
    return card_file, line


@pytest.fixture
def lender(tmp_path):
    return lender_in(tmp_path / "home")
