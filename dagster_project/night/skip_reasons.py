"""The reasons why a source or a check is skipped tonight: nothing was delivered, or the history is too short.

A source with a short history is not an error: its marts are built and published. Scoring begins when a model can be
trained.
"""

import polars as pl

from dagster_project.night.pipeline import MARTS, Pipeline
from ml.training_set import too_short

NOT_DELIVERED = "it has not delivered yet"
NO_PD = "not enough history: {}; either defaults are too few for a probability, or a column tells the outcome"
_NO_MONTH = "no loan has a whole month yet"
_NO_MODEL = "no source has a model yet"
_NO_ROW = "no source has it yet: see port_coverage"


def why_untrained(pipeline: Pipeline, source: str) -> str | None:
    """Why no model can be trained for a source, or why training failed; otherwise None.

    The source's training set must be built.
    """
    failed = pipeline.untrained_file(source)
    return why_too_short(pipeline, source) or (failed.read_text() if failed.exists() else None)


def why_unscored(pipeline: Pipeline, source: str) -> str | None:
    """Why a source has no scores tonight; None if it has scores."""
    return None if pipeline.champion(source) else why_untrained(pipeline, source)


def why_not_delivered(pipeline: Pipeline, source: str) -> str | None:
    """Why a source's raw tables are empty; None if the source has delivered."""
    return None if pipeline.has_delivered(source) else NOT_DELIVERED


def why_too_short(pipeline: Pipeline, source: str) -> str | None:
    """Why a source's training set is too short for a model; None if it is long enough."""
    needed = pipeline.policy.training_data
    return why_not_delivered(pipeline, source) or too_short(
        pipeline.training_set_file(source), needed.min_rows, needed.min_defaults
    )


def why_no_months(pipeline: Pipeline) -> str | None:
    """Why the marts have no loan months; None if they have some."""
    with pipeline.read_warehouse() as db:
        found = db.execute(f"select 1 from {MARTS}.fct_loan_months limit 1").fetchall()  # noqa: S608
    return None if found else _NO_MONTH


def why_no_scores(pipeline: Pipeline) -> str | None:
    """Why no source is scored tonight; None if at least one source is."""
    return _NO_MODEL if all(why_unscored(pipeline, name) for name in pipeline.active_sources()) else None


def why_empty(pipeline: Pipeline, table: str) -> str | None:
    """Why a table of tonight's portfolio is empty; None if it has rows."""
    rows = pl.scan_parquet(pipeline.portfolio_file(table)).select(pl.len()).collect().item()
    return None if rows else _NO_ROW
