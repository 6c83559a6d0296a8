"""The record of what the warehouse was built from (lake files and code), so that a build processes only new files.

The record is removed before a build begins, and written when the whole build has succeeded. A full build runs if there
is no record, if code or policy changed, if the night is rebuilt as of an instant, or if a recorded file has left the
lake.
"""

import json
import shutil
from pathlib import Path

from dagster_project.home.files import replace_text
from dagster_project.home.settings import Settings
from dagster_project.ingestion.contracts.dbt_sources import INCREMENTAL_TABLES
from dagster_project.ingestion.lake.files import select
from dagster_project.ingestion.lake.receipts import Receipt
from dagster_project.night.pipeline import Pipeline


def begin_build(pipeline: Pipeline) -> bool:
    """Select the files that the previous build did not read; returns whether a full build is needed.

    Call it before dbt starts. Until `end_build`, the content of the warehouse counts as incomplete.
    """
    record = _record_file(pipeline)
    before = json.loads(record.read_text()) if record.exists() and pipeline.settings.warehouse_file.exists() else None
    record.unlink(missing_ok=True)
    files_before = frozenset(before["files"]) if before and before["code"] == pipeline.code else frozenset()
    is_full = pipeline.known_as_of is not None or not files_before or not files_before <= _files(pipeline)
    if is_full:
        _clear(pipeline.settings)
    for source in pipeline.sources:
        # A full build reads no new files, but dbt needs the folder to be there.
        receipts = [] if is_full else [r for r in pipeline.receipts(source) if not files_before >= _files_of(r)]
        select(pipeline.ingest_context.lake, pipeline.settings.changed_files, source, receipts, INCREMENTAL_TABLES)
    return is_full


def end_build(pipeline: Pipeline) -> None:
    """Record that dbt built every model from this night's files, and that every dbt test passed."""
    if pipeline.known_as_of is None:
        record = {"code": pipeline.code, "files": sorted(_files(pipeline))}
        pipeline.settings.build.mkdir(parents=True, exist_ok=True)
        replace_text(_record_file(pipeline), json.dumps(record))


def require_full_build(pipeline: Pipeline) -> None:
    """Make the next build a full one, because dbt was run by hand, on some models or on the previous build's loans."""
    _record_file(pipeline).unlink(missing_ok=True)


def _clear(settings: Settings) -> None:
    """Remove the warehouse and whatever earlier code left beside it: a full build needs none of it.

    dbt replaces the tables of its models; tables of models that are gone would stay for ever.
    """
    kept = (settings.build, settings.selection)
    for path in settings.warehouse.iterdir() if settings.warehouse.exists() else ():
        if path.is_dir() and path not in kept:
            shutil.rmtree(path)
        elif path.is_file():
            path.unlink()


def _record_file(pipeline: Pipeline) -> Path:
    return pipeline.settings.build / "built_from.json"


def _files(pipeline: Pipeline) -> frozenset[str]:
    return frozenset(f for source in pipeline.sources for r in pipeline.receipts(source) for f in _files_of(r))


def _files_of(receipt: Receipt) -> frozenset[str]:
    """Files by path and content: a file that was rewritten counts as another file."""
    return frozenset(f"{f.path}:{f.sha256[:16]}" for f in receipt.files if f.table in INCREMENTAL_TABLES)
