"""Score, grade and calibration against golden numbers (modelling specification, sections 2.3 and 3)."""

import datetime as dt

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_project.home.settings import PROJECT_ROOT
from dagster_project.policy import load_policy
from ml.calibrate import NoLineError, fit_platt, logistic_line
from ml.scale import ScoreAnchor, band, grade, raw_score, score
from ml.splits import assign, bucket

POLICY = load_policy(PROJECT_ROOT / "policy/default.yaml")
TWENTY_TO_ONE = ScoreAnchor(score=600, odds=20)


def one(expr, **columns):
    return pl.DataFrame(columns).select(expr.alias("x"))["x"].to_list()


@pytest.mark.parametrize(("pd", "points"), [(0.0005, 932.1567), (0.01, 715.3714), (0.05, 596.3), (0.2, 483.9036)])
def test_score_before_clip_and_round(pd, points):
    assert one(raw_score(pl.col("pd"), POLICY.scale, TWENTY_TO_ONE), pd=[pd]) == [pytest.approx(points, abs=5e-5)]


def test_score_is_clipped_and_default_has_the_minimum():
    assert one(score(pl.col("pd"), POLICY.scale, TWENTY_TO_ONE), pd=[1e-7, 0.01, 0.9, 1.0]) == [950, 715, 350, 350]


def test_source_anchor_is_met():
    anchor = POLICY.sources["taiwan_cards"].score_anchor
    assert one(score(pl.col("pd"), POLICY.scale, anchor), pd=[1 / 4.5]) == [600]


def test_grade_edges_are_lower_inclusive():
    assert one(grade(pl.col("pd"), POLICY.scale), pd=[0.0003, 0.000780999, 0.000781, 0.1666669, 0.166667, 0.99]) == [
        "R1",
        "R1",
        "R2",
        "R9",
        "R10",
        "R12",
    ]


def test_bands():
    assert one(band(pl.col("s"), POLICY.scale), s=[350, 549, 550, 600, 650, 700, 950]) == [
        "poor",
        "poor",
        "fair",
        "good",
        "very good",
        "excellent",
        "excellent",
    ]


@given(st.lists(st.floats(0.0005, 0.9999), min_size=2, max_size=50))
def test_score_never_rises_with_pd(pds):
    points = one(score(pl.col("pd"), POLICY.scale, TWENTY_TO_ONE), pd=sorted(pds))
    assert points == sorted(points, reverse=True)


def test_logistic_line_agrees_with_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    x = rng.normal(size=4000)
    y = (rng.random(4000) < 1 / (1 + np.exp(-(0.3 + 1.2 * x)))).astype(float)
    model = LogisticRegression(C=np.inf, tol=1e-10).fit(x[:, None], y)
    assert logistic_line(x, y) == pytest.approx((model.intercept_[0], model.coef_[0, 0]), abs=1e-5)


def test_rare_defaults_far_from_zero_have_a_line():
    """Newton's first whole step overshoots here, to where every probability is 0 or 1."""
    rng = np.random.default_rng(3)
    margin = rng.normal(-4.5, 1.2, 50_000) - 3.0 * (rng.random(50_000) < 0.5)
    outcome = (rng.random(50_000) < 1 / (1 + np.exp(-margin))).astype(float)
    intercept, slope = logistic_line(margin, outcome)
    assert slope == pytest.approx(1, abs=0.1)
    assert intercept == pytest.approx(0, abs=0.4)


def test_calibration_of_true_margins_is_the_identity():
    rng = np.random.default_rng(1)
    margin = rng.normal(-2, 1, 200_000)
    outcome = (rng.random(200_000) < 1 / (1 + np.exp(-margin))).astype(float)
    platt = fit_platt(margin, outcome)
    assert (platt.intercept, platt.slope) == pytest.approx((0, 1), abs=0.03)
    assert platt.pd(np.array([0.0])) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(("x", "y"), [([1.0, 2, 3], [0.0, 0, 0]), ([1.0, 2, 3, 4], [0.0, 0, 1, 1])])
def test_no_line_without_two_mixed_classes(x, y):
    with pytest.raises(NoLineError, match=r"defaults|separated|converge"):
        logistic_line(np.array(x), np.array(y))


def test_bucket_is_golden_and_a_borrower_has_one():
    # The first 16 hex digits of `printf 'creditloom-split-1|b0' | sha256sum`, modulo 100.
    assert [bucket(f"b{i}", "creditloom-split-1") for i in range(4)] == [14, 67, 33, 83]
    frame = pl.DataFrame({"borrower_id": ["x", "y", "x"], "row": [1, 2, 3], "month_on": [dt.date(2020, 1, 31)] * 3})
    out = assign(frame, POLICY.split)
    assert out["row"].to_list() == [1, 2, 3]
    assert out["block"][0] == out["block"][2]


def test_blocks_have_the_shares_of_the_policy():
    frame = pl.DataFrame({"borrower_id": [str(i) for i in range(20_000)]}).with_columns(month_on=dt.date(2020, 1, 31))
    shares = dict(assign(frame, POLICY.split).group_by("block").agg(pl.len() / 20_000).iter_rows())
    assert shares == pytest.approx({"train": 0.6, "val": 0.1, "cal": 0.1, "oos": 0.2}, abs=0.01)
