"""Turn a probability of default (PD) into a score, a grade and a band.

Score: `score + pdo * log2(odds / anchor_odds)` with odds = (1 - PD) / PD and pdo = `points_to_double_odds`, clipped and
rounded. Grade: by the edges of the master scale, lower edge inclusive, from the unrounded PD; accounts in default have
grade `D`.
"""

from itertools import pairwise
from typing import Annotated

import polars as pl
from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from ml.section import Section

DEFAULT_GRADE = "D"


class ScoreAnchor(Section):
    """The one score whose odds are given. One per source: labels differ in horizon."""

    score: float = Field(ge=0, description="A score, in points.")
    odds: float = Field(gt=0, description="How many good accounts there are for one bad one at this score.")


class Scale(Section):
    """The score's range and slope, the floor of PD, and the lower edge of each grade and band."""

    points_to_double_odds: float = Field(gt=0, description="By how many points the score rises as the odds double.")
    score_min: int = Field(ge=0, description="Lowest score.")
    score_max: int = Field(ge=1, description="Highest score. It is above `score_min`.")
    pd_floor: float = Field(gt=0, lt=1, description="No PD is below this one.")
    grade_edges: dict[str, Annotated[float, Field(ge=0, lt=1)]] = Field(
        min_length=1,
        description="Lowest PD of each grade, inclusive. The first is 0, and each is above the one before.",
    )
    bands: dict[str, int] = Field(
        min_length=1,
        description="Lowest score of each band, inclusive. The first is `score_min`, and each is above the one before, "
        "up to `score_max`.",
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
    """A validation error for the entry `name` of a mapping. The policy's error report finds the entry by `at`."""
    return PydanticCustomError("order", "{what}", {"what": what, "at": (name,)})


def raw_score(pd: pl.Expr, scale: Scale, anchor: ScoreAnchor) -> pl.Expr:
    """The score before clipping and rounding, in points. `pd` is above 0 and below 1."""
    return anchor.score + scale.points_to_double_odds * (((1 - pd) / pd) / anchor.odds).log(2)


def score(pd: pl.Expr, scale: Scale, anchor: ScoreAnchor) -> pl.Expr:
    """The score as a whole number from `score_min` to `score_max`. A PD of 1 gets `score_min`."""
    points = pl.when(pd >= 1).then(float(scale.score_min)).otherwise(raw_score(pd, scale, anchor))
    return points.clip(scale.score_min, scale.score_max).round(0, mode="half_away_from_zero").cast(pl.Int32)


def grade(pd: pl.Expr, scale: Scale) -> pl.Expr:
    """The grade on the master scale, from the unrounded PD. The first grade is the best."""
    names, edges = zip(*scale.grade_edges.items(), strict=True)
    result: pl.Expr = pl.lit(names[0])
    for name, edge in zip(names[1:], edges[1:], strict=True):
        result = pl.when(pd >= edge).then(pl.lit(name)).otherwise(result)
    return result


def band(points: pl.Expr, scale: Scale) -> pl.Expr:
    """The band that a score falls into, for example `good`."""
    result: pl.Expr = pl.lit(next(iter(scale.bands)))
    for name, lower in list(scale.bands.items())[1:]:
        result = pl.when(points >= lower).then(pl.lit(name)).otherwise(result)
    return result
