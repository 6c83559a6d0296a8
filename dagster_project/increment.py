"""What the warehouse was built from, so that a build works on what is new since: which lake files, by which code.

The record is taken away before a build begins and written when all of it has ended well. Without it, or where it does
not lead to tonight (other code or policy, a night as of an instant, a file that the lake has no more), all is built.
"""

import json
import shutil
from pathlib import Path

from dagster_project.files import replace_text
from dagster_project.ingestion.dbt_sources import CHANGED_TABLES
from dagster_project.ingestion.lake import select
from dagster_project.ingestion.receipts import Receipt
from dagster_project.resources import Pipeline
from dagster_project.settings import Settings


def begin_build(pipeline: Pipeline) -> bool:
    """Lay out the files that the build before did not have; returns whether all must be built.

    To be said before dbt begins: from now on, and until `end_build`, what the warehouse holds counts for nothing.
    """
    record = _record(pipeline)
    before = json.loads(record.read_text()) if record.exists() and pipeline.settings.warehouse_file.exists() else None
    record.unlink(missing_ok=True)
    known = frozenset(before["files"]) if before and before["code"] == pipeline.code else frozenset()
    is_full = pipeline.known_as_of is not None or not known or not known <= _files(pipeline)
    if is_full:
        _clear(pipeline.settings)
    for source in pipeline.sources:
        # A full build reads no changed file; dbt still needs a folder to read.
        receipts = [] if is_full else [r for r in pipeline.receipts(source) if not known >= _files_of(r)]
        select(pipeline.border.lake, pipeline.settings.changed_files, source, receipts, CHANGED_TABLES)
    return is_full


def end_build(pipeline: Pipeline) -> None:
    """Say that every model was built, and every test of dbt's passed, from what this night reads."""
    if pipeline.known_as_of is None:
        record = {"code": pipeline.code, "files": sorted(_files(pipeline))}
        pipeline.settings.build.mkdir(parents=True, exist_ok=True)
        replace_text(_record(pipeline), json.dumps(record))


def forget_build(pipeline: Pipeline) -> None:
    """Have the next build build all: dbt was run by hand, on some models, or on the loans of the build before."""
    _record(pipeline).unlink(missing_ok=True)


def _clear(settings: Settings) -> None:
    """Remove the warehouse and whatever earlier code left beside it: a full build needs none of it.

    dbt replaces the tables that it has a model of; those of models that are gone would stay for ever.
    """
    kept = (settings.build, settings.selection)
    for path in settings.warehouse.iterdir() if settings.warehouse.exists() else ():
        if path.is_dir() and path not in kept:
            shutil.rmtree(path)
        elif path.is_file():
            path.unlink()


def _record(pipeline: Pipeline) -> Path:
    return pipeline.settings.build / "built_from.json"


def _files(pipeline: Pipeline) -> frozenset[str]:
    return frozenset(f for source in pipeline.sources for r in pipeline.receipts(source) for f in _files_of(r))


def _files_of(receipt: Receipt) -> frozenset[str]:
    """Files by place and content: one that was written anew is another."""
    return frozenset(f"{f.path}:{f.sha256[:16]}" for f in receipt.files if f.table in CHANGED_TABLES)
