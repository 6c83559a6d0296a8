"""Tests that the policy has exactly the indicators that early warnings can measure."""

from dagster_project.early_warning.rules import MEASURES
from support.warning_figures import POLICY


def test_every_indicator_is_in_the_policy():
    assert set(POLICY.indicators) == set(MEASURES)
