"""Guards, which determine the suites of checks that a night must pass.

A guard combines a suite, the table that the suite checks, and a function that decides whether to skip it tonight. This
module does not use Dagster.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from dagster_project.ingestion.contracts.canonical import PERSONS
from dagster_project.night import skip_reasons
from dagster_project.night.pipeline import Pipeline
from expectations import features, portfolio, raw, scores, training_set
from expectations.suite import Suite
from ml.reasons import FAMILIES, NO_REASON
from ml.scale import DEFAULT_GRADE

TableKind = Literal["raw", "mart", "training set", "scores", "portfolio"]


@dataclass(frozen=True)
class Guard:
    """A suite of checks and the table that it checks.

    Attributes:
        suite: the checks.
        kind: the kind of the table.
        skip_reason: returns the reason why the suite cannot be evaluated tonight, or None if it can.
        parquet: the path or glob pattern of the table's Parquet files, or None if the table is in the warehouse.
        source: the source that the table belongs to, or None if the table covers all sources.
    """

    suite: Suite
    kind: TableKind
    skip_reason: Callable[[Pipeline], str | None]
    parquet: Path | None = None
    source: str | None = None

    @property
    def is_raw(self) -> bool:
        """Return whether the table is a raw table.

        Raw tables only grow, so a night can check the new files without reading the earlier ones again.
        """
        return self.kind == "raw"


def guards_of(pipeline: Pipeline) -> tuple[Guard, ...]:
    """Return all guards of a night, in the order in which the night builds their tables.

    The pipeline's extra checks are appended to the suites that they belong to.
    """
    found = [*_raw_guards(pipeline), _features_guard(), *_training_set_guards(pipeline), _scores_guard(pipeline)]
    found += _portfolio_guards(pipeline)
    return tuple(_with_extra_checks(guard, pipeline) for guard in found)


def _raw_guards(pipeline: Pipeline) -> list[Guard]:
    return [
        Guard(
            raw.suite(
                name,
                table.name,
                table.columns,
                table.key,
                delivered_again=table.name in PERSONS or table.corrections,
            ),
            "raw",
            partial(skip_reasons.why_not_delivered, source=name),
            pipeline.settings.selection / name / table.name / "*.parquet",
            name,
        )
        for name, source in pipeline.sources.items()
        for table in source.contract.tables
    ]


def _features_guard() -> Guard:
    return Guard(features.suite(), "mart", skip_reasons.why_no_months)


def _training_set_guards(pipeline: Pipeline) -> list[Guard]:
    limits = pipeline.policy.training_data
    return [
        Guard(
            training_set.suite(name, limits.min_default_rate, limits.max_default_rate),
            "training set",
            partial(skip_reasons.why_too_short, source=name),
            pipeline.training_set_file(name),
            name,
        )
        for name in pipeline.sources
    ]


def _scores_guard(pipeline: Pipeline) -> Guard:
    scale = pipeline.policy.scale
    grades, codes = tuple(scale.grade_edges), (*(f.code for f in FAMILIES), NO_REASON)
    most = pipeline.policy.reasons.max_reasons
    suite = scores.suite(scale.score_min, scale.score_max, scale.pd_floor, grades, DEFAULT_GRADE, codes, most)
    return Guard(suite, "scores", skip_reasons.why_no_scores, pipeline.scores_file)


def _portfolio_guards(pipeline: Pipeline) -> list[Guard]:
    return [
        Guard(
            suite,
            "portfolio",
            partial(skip_reasons.why_empty, table=suite.table),
            pipeline.portfolio_file(suite.table),
        )
        for suite in portfolio.suites()
    ]


def _with_extra_checks(guard: Guard, pipeline: Pipeline) -> Guard:
    extra = pipeline.extra_checks.get(guard.suite.name, ())
    return replace(guard, suite=replace(guard.suite, checks=(*guard.suite.checks, *extra)))
