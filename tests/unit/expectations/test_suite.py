"""Tests that a suite with two checks of the same name is refused."""

import pytest

from expectations.suite import Check, Suite, not_null


def test_two_checks_of_one_name_are_refused():
    with pytest.raises(ValueError, match="k__to_not_be_null"):
        Suite("x", "t", (not_null("k"), Check("ExpectColumnValuesToNotBeNull", {"column": "k"}, "warning")))
