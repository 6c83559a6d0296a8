"""From a probability of default to a score and a grade.

Score: `score + pdo * log2(odds / anchor_odds)` with odds = (1 - PD) / PD, clipped and rounded. Grade: the master
scale's edges in PD, lower edge inclusive, taken from the unrounded PD; `D` is an account already in default.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import polars as pl

DEFAULT_GRADE = "D"


@dataclass(frozen=True)
class ScoreAnchor:
    """`score` points stand for good:bad odds of `odds` : 1. One per source: labels differ in horizon."""

    score: float
    odds: float


@dataclass(frozen=True)
class Scale:
    """The score's range and slope, the floor of PD, and the lower PD edge of each grade and score band."""

    points_to_double_odds: float
    score_min: int
    score_max: int
    pd_floor: float
    grade_edges: Mapping[str, float]
    bands: Mapping[str, int]

    def __post_init__(self) -> None:
        """Refuse edges that do not rise.

        Raises:
            ValueError: the grade edges or the bands are not strictly increasing.
        """
        for what, edges in (("grade_edges", list(self.grade_edges.values())), ("bands", list(self.bands.values()))):
            if any(b <= a for a, b in pairwise(edges)):
                raise ValueError(f"scale: {what} must rise from one to the next")


def raw_score(pd: pl.Expr, scale: Scale, anchor: ScoreAnchor) -> pl.Expr:
    """Score before clipping and rounding, in points. `pd` is a probability in (0, 1)."""
    return anchor.score + scale.points_to_double_odds * (((1 - pd) / pd) / anchor.odds).log(2)


def score(pd: pl.Expr, scale: Scale, anchor: ScoreAnchor) -> pl.Expr:
    """Score as a whole number between `score_min` and `score_max`. PD = 1 gives the minimum."""
    points = pl.when(pd >= 1).then(float(scale.score_min)).otherwise(raw_score(pd, scale, anchor))
    return points.clip(scale.score_min, scale.score_max).round(0, mode="half_away_from_zero").cast(pl.Int32)


def grade(pd: pl.Expr, scale: Scale) -> pl.Expr:
    """Grade of the master scale (R1 best) from the unrounded PD."""
    names, edges = zip(*scale.grade_edges.items(), strict=True)
    result: pl.Expr = pl.lit(names[0])
    for name, edge in zip(names[1:], edges[1:], strict=True):
        result = pl.when(pd >= edge).then(pl.lit(name)).otherwise(result)
    return result


def band(points: pl.Expr, scale: Scale) -> pl.Expr:
    """The band of a score, as readers see it: poor, fair, good, very good, excellent."""
    result: pl.Expr = pl.lit(next(iter(scale.bands)))
    for name, lower in list(scale.bands.items())[1:]:
        result = pl.when(points >= lower).then(pl.lit(name)).otherwise(result)
    return result
