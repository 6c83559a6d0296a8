"""Tests of score, grade and band against golden numbers from section 2.3 of the modelling specification."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.scale import ScoreAnchor, band, grade, raw_score, score
from support.training import POLICY

TWENTY_TO_ONE = ScoreAnchor(score=600, odds=20)


def one(expr, **columns):
    return pl.DataFrame(columns).select(expr.alias("x"))["x"].to_list()


@pytest.mark.parametrize(("pd", "points"), [(0.0005, 932.1567), (0.01, 715.3714), (0.05, 596.3), (0.2, 483.9036)])
def test_score_before_clip_and_round(pd, points):
    assert one(raw_score(pl.col("pd"), POLICY.scale, TWENTY_TO_ONE), pd=[pd]) == [pytest.approx(points, abs=5e-5)]


def test_score_is_clipped_and_default_has_the_minimum():
    assert one(score(pl.col("pd"), POLICY.scale, TWENTY_TO_ONE), pd=[1e-7, 0.01, 0.9, 1.0]) == [950, 715, 350, 350]


def test_source_anchor_gives_its_score():
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
