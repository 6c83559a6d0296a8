"""What a source cannot do tonight and why, in words: it has not delivered, or its history is too short. No Dagster.

A young book is no failure: its marts are built and published, and it is left unscored until a model can learn from it.
"""

from pathlib import Path

import polars as pl

from dagster_project.resources import MARTS, PORTFOLIO, SCORES_ASSET, Guard, Pipeline, mart_asset, training_set_asset
from ml.training_set import too_short

NOT_DELIVERED = "it has not delivered yet"
NO_PD = "not enough history: {}; either defaults are too few for a probability, or a column tells the outcome"
_NO_MONTH = "no loan has a whole month yet"
_NO_MODEL = "no source has a model yet"
_NO_ROW = "no source has it yet: see port_coverage"


def why_untrained(pipeline: Pipeline, source: str) -> str | None:
    """Why no model can be trained for a source, once its training set is built, or was once it was tried; else None."""
    tried = pipeline.untrained_file(source)
    return _why_too_short(pipeline, source) or (tried.read_text() if tried.exists() else None)


def why_unscored(pipeline: Pipeline, source: str) -> str | None:
    """Why a source has no scores tonight; None if it has."""
    return None if pipeline.champion(source) else why_untrained(pipeline, source)


def why_not_evaluated(pipeline: Pipeline, guard: Guard) -> str | None:
    """Why a guard has nothing to guard tonight; None if it has."""
    if guard.source and not pipeline.has_delivered(guard.source):
        return NOT_DELIVERED
    if guard.source and guard.asset == training_set_asset(guard.source):
        return _why_too_short(pipeline, guard.source)
    if guard.asset == mart_asset("feat_loan_months") and not _has_months(pipeline):
        return _NO_MONTH
    if guard.asset == SCORES_ASSET and all(why_unscored(pipeline, name) for name in pipeline.active_sources()):
        return _NO_MODEL
    if guard.asset[0] == PORTFOLIO and _is_empty(guard.parquet):
        return _NO_ROW
    return None


def _why_too_short(pipeline: Pipeline, source: str) -> str | None:
    if not pipeline.has_delivered(source):
        return NOT_DELIVERED
    needed = pipeline.policy.training_data
    return too_short(pipeline.training_set_file(source), needed.min_rows, needed.min_defaults)


def _is_empty(table: Path | None) -> bool:
    return table is None or not pl.scan_parquet(table).select(pl.len()).collect().item()


def _has_months(pipeline: Pipeline) -> bool:
    with pipeline.read_warehouse() as db:
        return bool(db.execute(f"select 1 from {MARTS}.fct_loan_months limit 1").fetchall())  # noqa: S608
