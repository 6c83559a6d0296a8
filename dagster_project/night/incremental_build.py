"""Records the lake files and the code that the warehouse was built from, so that a build processes only new files.

The record is removed before a build begins, and written when the whole build has succeeded. A full build runs if there
is no record, if code or policy changed, if the night is rebuilt as of an instant, or if the lake no longer has a
recorded file.
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
    """Select the files that the previous build did not read. Returns whether a full build is needed.

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
    """Record that dbt built every model from this night's files, and that every dbt test passed.

    A night that is rebuilt as of an instant is not recorded.
    """
    if pipeline.known_as_of is None:
        record = {"code": pipeline.code, "files": sorted(_files(pipeline))}
        pipeline.settings.build.mkdir(parents=True, exist_ok=True)
        replace_text(_record_file(pipeline), json.dumps(record))


def require_full_build(pipeline: Pipeline) -> None:
    """Make the next build a full build. Call this when dbt is run by hand.

    Such a run may build only some models, or read only the loans of the previous build.
    """
    _record_file(pipeline).unlink(missing_ok=True)


def _clear(settings: Settings) -> None:
    """Remove the warehouse and the files that earlier code left beside it; a full build does not need them.

    dbt replaces the tables of its models, but would never remove the tables of deleted models.
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
    """The files of a receipt, identified by path and content hash: a rewritten file counts as another file."""
    return frozenset(f"{f.path}:{f.sha256[:16]}" for f in receipt.files if f.table in INCREMENTAL_TABLES)
