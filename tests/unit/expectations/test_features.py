"""Tests of the suite that checks the features."""

from expectations import features as feature_suite
from ml.features import FEATURE_NAMES


def test_every_feature_has_a_range_check():
    checked = {c.kwargs.get("column") for c in feature_suite.suite().checks if "Between" in c.kind}
    # A balance may be any amount that the contract allows; a month's payments may be less than its reversals.
    amounts = {"bill_amount", "pay_amount_last", "pay_amount_mean_3m", "pay_amount_mean_6m"}
    assert set(FEATURE_NAMES) - amounts <= checked
