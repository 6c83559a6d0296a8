"""Functions that return why a source or a check is skipped tonight, as a message.

Either the source has not delivered yet, or its history is too short, or a table is still empty. None of these is an
error. The marts of a source with a short history are built and published, and scoring begins once a model can be
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
    """Return why no model can be trained for a source tonight, or None if one can be trained.

    The reason is that the source has not delivered, that its training set is too short, or that training has already
    failed on tonight's training set. If the source has delivered, tonight's training set must already be built.
    """
    failed = pipeline.untrained_file(source)
    return why_too_short(pipeline, source) or (failed.read_text() if failed.exists() else None)


def why_unscored(pipeline: Pipeline, source: str) -> str | None:
    """Return why a source has no scores tonight, or None if it has a champion that scores it."""
    return None if pipeline.champion(source) else why_untrained(pipeline, source)


def why_not_delivered(pipeline: Pipeline, source: str) -> str | None:
    """Return why the raw tables of a source are empty, or None if the source has delivered."""
    return None if pipeline.has_delivered(source) else NOT_DELIVERED


def why_too_short(pipeline: Pipeline, source: str) -> str | None:
    """Return why the training set of a source is too small for a model, or None if it is large enough.

    The reason is that the source has not delivered, or that there are too few usable observations or defaults.
    """
    needed = pipeline.policy.training_data
    return why_not_delivered(pipeline, source) or too_short(
        pipeline.training_set_file(source), needed.min_rows, needed.min_defaults
    )


def why_no_months(pipeline: Pipeline) -> str | None:
    """Return why there are no loan months in the marts, or None if there is at least one."""
    with pipeline.read_warehouse() as db:
        found = db.execute(f"select 1 from {MARTS}.fct_loan_months limit 1").fetchall()  # noqa: S608
    return None if found else _NO_MONTH


def why_no_scores(pipeline: Pipeline) -> str | None:
    """Return why no source is scored tonight, or None if at least one source is scored."""
    return _NO_MODEL if all(why_unscored(pipeline, name) for name in pipeline.active_sources()) else None


def why_empty(pipeline: Pipeline, table: str) -> str | None:
    """Return why one of tonight's portfolio tables is empty, or None if it has rows.

    The table must already be written.
    """
    rows = pl.scan_parquet(pipeline.portfolio_file(table)).select(pl.len()).collect().item()
    return None if rows else _NO_ROW
