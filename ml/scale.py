"""Conversion of a probability of default to a score, a band and a grade.

The score is `anchor.score + points_to_double_odds * log2(odds / anchor.odds)` with odds = (1 - PD) / PD. It is then
limited to the range of the scale and rounded.

The grade is found by comparing the unrounded PD with the lower edges of the master scale, which are inclusive. An
account that is already in default has grade `D`.
"""

from itertools import pairwise
from typing import Annotated

import polars as pl
from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from ml.section import Section

DEFAULT_GRADE = "D"


class ScoreAnchor(Section):
    """A score with known odds, which fixes the scale. Each source has its own anchor, because label horizons differ."""

    score: float = Field(ge=0, description="The score of the anchor, in points.")
    odds: float = Field(gt=0, description="Number of good accounts per bad account at this score.")


class Scale(Section):
    """Range and slope of the score, the PD floor, and the lower edge of each grade and band."""

    points_to_double_odds: float = Field(
        gt=0, description="Number of points by which the score rises when the odds double."
    )
    score_min: int = Field(ge=0, description="Lowest score.")
    score_max: int = Field(ge=1, description="Highest score. Must be above `score_min`.")
    pd_floor: float = Field(gt=0, lt=1, description="Smallest PD. A lower PD is raised to this value.")
    grade_edges: dict[str, Annotated[float, Field(ge=0, lt=1)]] = Field(
        min_length=1,
        description="Lowest PD of each grade, inclusive. The first must be 0, and each must be above the one before "
        "it.",
    )
    bands: dict[str, int] = Field(
        min_length=1,
        description="Lowest score of each band, inclusive. The first must be `score_min`, each must be above the one "
        "before it, and none may be above `score_max`.",
    )

    @field_validator("score_max")
    @classmethod
    def _above_minimum(cls, value: int, info: ValidationInfo) -> int:
        least = info.data.get("score_min")
        if least is not None and value <= least:
            raise ValueError(f"score_max ({value}) must be above score_min ({least})")
        return value

    @field_validator("grade_edges")
    @classmethod
    def _from_zero_up(cls, edges: dict[str, float]) -> dict[str, float]:
        if DEFAULT_GRADE in edges:
            raise _wrong(DEFAULT_GRADE, f"{DEFAULT_GRADE} is the grade of accounts in default; use another name")
        first, edge = next(iter(edges.items()))
        if edge != 0:
            raise _wrong(first, f"{first} ({edge:g}) must be 0: every PD has a grade")
        _must_rise(edges)
        return edges

    @field_validator("bands")
    @classmethod
    def _within_range(cls, bands: dict[str, int], info: ValidationInfo) -> dict[str, int]:
        _must_rise(bands)
        ((first, lowest), *_), (last, highest) = bands.items(), list(bands.items())[-1]
        least, most = info.data.get("score_min"), info.data.get("score_max")
        if least is not None and lowest != least:
            raise _wrong(first, f"{first} ({lowest}) must be score_min ({least}): every score has a band")
        if most is not None and highest > most:
            raise _wrong(last, f"{last} ({highest}) must not be above score_max ({most})")
        return bands


def _must_rise(edges: dict[str, float] | dict[str, int]) -> None:
    for (before, low), (name, high) in pairwise(edges.items()):
        if high <= low:
            raise _wrong(name, f"{name} ({high:g}) must be above {before} ({low:g})")


def _wrong(name: str, what: str) -> PydanticCustomError:
    """Return the error to raise for the entry `name` of a mapping. `what` is the message."""
    return PydanticCustomError("order", "{what}", {"what": what, "at": (name,)})


def raw_score(pd: pl.Expr, scale: Scale, anchor: ScoreAnchor) -> pl.Expr:
    """Return the score in points, neither rounded nor limited to the scale's range.

    `pd` is a probability between 0 and 1, both excluded.
    """
    return anchor.score + scale.points_to_double_odds * (((1 - pd) / pd) / anchor.odds).log(2)


def score(pd: pl.Expr, scale: Scale, anchor: ScoreAnchor) -> pl.Expr:
    """Return the score as a whole number from `score_min` to `score_max`.

    A PD of 1 gives `score_min`. Scores outside the range are set to its nearest end.
    """
    points = pl.when(pd >= 1).then(float(scale.score_min)).otherwise(raw_score(pd, scale, anchor))
    return points.clip(scale.score_min, scale.score_max).round(0, mode="half_away_from_zero").cast(pl.Int32)


def grade(pd: pl.Expr, scale: Scale) -> pl.Expr:
    """Return the grade of the master scale for a PD. R1 is the best grade.

    The PD must not be rounded before. Grade D of accounts in default is not assigned here.
    """
    names, edges = zip(*scale.grade_edges.items(), strict=True)
    result: pl.Expr = pl.lit(names[0])
    for name, edge in zip(names[1:], edges[1:], strict=True):
        result = pl.when(pd >= edge).then(pl.lit(name)).otherwise(result)
    return result


def band(points: pl.Expr, scale: Scale) -> pl.Expr:
    """Return the name of the band that a score belongs to.

    In the default policy the bands are poor, fair, good, very good and excellent.
    """
    result: pl.Expr = pl.lit(next(iter(scale.bands)))
    for name, lower in list(scale.bands.items())[1:]:
        result = pl.when(points >= lower).then(pl.lit(name)).otherwise(result)
    return result
