"""Functions that let a night build the warehouse from new files only.

A record stores which lake files and which code the warehouse was built from. The record is removed before a build
begins, and written again when the whole build has succeeded. Everything is built from scratch if there is no record, if
the code or the policy changed, if the lake no longer contains a recorded file, or if the night is rebuilt as of an
earlier time.
"""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from dagster_project.home.files import replace_text
from dagster_project.home.settings import Settings
from dagster_project.ingestion.contracts.dbt_sources import INCREMENTAL_TABLES
from dagster_project.ingestion.lake.files import select
from dagster_project.ingestion.lake.receipts import Receipt
from dagster_project.night.pipeline import Pipeline


@dataclass(frozen=True)
class Build:
    """A successful build of the warehouse.

    Attributes:
        digest: a hash of the code and the files that the warehouse was built from, and of `built_on`.
        built_on: the digest of the build to which this one added its new files, or None after a full build.
    """

    digest: str
    built_on: str | None


def current_build(pipeline: Pipeline) -> Build | None:
    """Return the build that made the warehouse, or None if it was not recorded, as in a rebuilt night."""
    record = _record_file(pipeline)
    if pipeline.known_as_of is not None or not record.exists():
        return None
    text = record.read_text()
    return Build(hashlib.sha256(text.encode()).hexdigest(), json.loads(text).get("built_on"))


@dataclass(frozen=True)
class BuildStart:
    """What a build begins with.

    Attributes:
        is_full: whether everything is built from scratch.
        built_on: the digest of the previous build, or None for a full build.
    """

    is_full: bool
    built_on: str | None


def begin_build(pipeline: Pipeline) -> BuildStart:
    """Link the lake files that the previous build did not read, and return whether a full build is needed.

    For a full build, no files are linked, and the old warehouse is removed. Call this function before dbt starts. It
    removes the record of the previous build, so the next build is a full build unless `end_build` is called.
    """
    record, previous = _record_file(pipeline), current_build(pipeline)
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
    return BuildStart(is_full, previous.digest if previous and not is_full else None)


def end_build(pipeline: Pipeline, start: BuildStart) -> None:
    """Record which files and which code the warehouse was built from, and on which build.

    `start` is what `begin_build` returned. Call this only after dbt built every model and all its tests passed. Nothing
    is recorded for a rebuilt night.
    """
    if pipeline.known_as_of is None:
        record = {"code": pipeline.code, "files": sorted(_files(pipeline)), "built_on": start.built_on}
        pipeline.settings.build.mkdir(parents=True, exist_ok=True)
        replace_text(_record_file(pipeline), json.dumps(record))


def require_full_build(pipeline: Pipeline) -> None:
    """Remove the record of the previous build, so that the next build is a full build.

    Call this when a user runs dbt by hand, because such a run may build only some of the models, or read only the loans
    that had new data in the previous build.
    """
    _record_file(pipeline).unlink(missing_ok=True)


def _clear(settings: Settings) -> None:
    """Remove the warehouse, and any files and folders that older code left beside it.

    dbt only replaces the tables of existing models. Without this step, the table of a deleted model would stay in the
    warehouse.
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
    """Return identifiers of a receipt's files, each made of the file's path and the first 16 digits of its sha256.

    A file that was rewritten therefore counts as a different file. The result leaves out files of tables that dbt does
    not build incrementally.
    """
    return frozenset(f"{f.path}:{f.sha256[:16]}" for f in receipt.files if f.table in INCREMENTAL_TABLES)
