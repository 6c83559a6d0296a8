"""Tests that scoring returns a complete row for each account."""

import polars as pl

from ml.score import score_accounts
from support.training import POLICY, book


def test_scores_are_complete_and_defaulted_accounts_have_grade_d(model):
    live = book(500, 9)
    scores = score_accounts(
        model, live.reverse(), POLICY.scale, POLICY.sources["taiwan_cards"].score_anchor, POLICY.reasons, "7"
    ).scores
    assert scores["loan_id"].to_list() == live["loan_id"].to_list(), "sorted, none lost"
    defaulted = scores.filter("in_default")
    assert set(defaulted["grade"]) == {"D"}
    assert set(defaulted["pd"]) == {1.0}
    assert set(defaulted["score"]) == {350}
    assert "D" not in set(scores.filter(~pl.col("in_default"))["grade"])
    assert set(scores["model_version"]) == {"7"}
