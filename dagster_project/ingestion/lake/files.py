"""The lake on disk: atomic, content-addressed Parquet files, and the selection of them that a night reads.

A file is written beside its final name and renamed; it and its folder are flushed before a receipt names it. What a
night reads is a folder of hard links to exactly those files that receipts name, each verified by hash: orphans of a
crash are never seen, and an absent table is an empty Parquet file with the contract's schema.
"""

import hashlib
import io
import os
import shutil
from collections.abc import Collection, Iterable
from pathlib import Path

import polars as pl

from dagster_project.home.files import file_sha256, flush
from dagster_project.ingestion.contracts.canonical import CANONICAL, raw_schema
from dagster_project.ingestion.lake.receipts import LakeFile, Receipt

TMP = ".tmp"


class LakeCorruptionError(RuntimeError):
    """A file's bytes are not the ones its receipt recorded."""


def write_parquet(
    frame: pl.DataFrame,
    path: Path,
    metadata: dict[str, str] | None = None,
    *,
    flushed: bool = True,
    statistics: bool = True,
) -> str:
    """Write a frame under its final name or not at all; returns the sha256 of the bytes.

    `flushed`: without it, whoever commits the file calls `flush_files` before. `statistics`: by which a reader of few
    rows may skip others.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + TMP)
    written = io.BytesIO()  # in memory first, so that the bytes are hashed and written without being read again
    frame.write_parquet(written, compression="zstd", compression_level=1, statistics=statistics, metadata=metadata)
    temporary.write_bytes(written.getbuffer())
    digest = hashlib.sha256(written.getbuffer()).hexdigest()
    if flushed:
        flush(temporary)
    temporary.replace(path)
    if flushed:
        flush(path.parent)
    return digest


def flush_files(lake: Path, receipts: Iterable[Receipt]) -> None:
    """Make the files that these receipts name survive a power cut: each file, then each folder once."""
    paths = [lake / item.path for receipt in receipts for item in receipt.files]
    for path in paths:
        flush(path)
    for folder in sorted({path.parent for path in paths}):
        flush(folder)


def sweep(folder: Path) -> int:
    """Remove the temporary files that a crash left; returns how many."""
    litter = list(folder.rglob(f"*{TMP}")) if folder.exists() else []
    for path in litter:
        path.unlink()
    return len(litter)


def select(
    lake: Path, selection: Path, source: str, receipts: Iterable[Receipt], tables: Collection[str] = tuple(CANONICAL)
) -> dict[str, int]:
    """Lay out the files that `receipts` name under `selection/<source>/<table>/`; returns rows per table.

    Args:
        lake: the folder that the receipts' paths are in.
        selection: the folder to lay out in; what stood there of this source is replaced.
        source: name of the source.
        receipts: its deliveries.
        tables: the canonical tables to lay out.

    Raises:
        LakeCorruptionError: a file is missing or its bytes changed.
    """
    target = selection / source
    building = target.with_name(target.name + TMP)
    shutil.rmtree(building, ignore_errors=True)
    rows = dict.fromkeys(tables, 0)
    for table in tables:
        folder = building / table
        folder.mkdir(parents=True)
        pl.DataFrame(schema=raw_schema(table)).write_parquet(folder / "_empty.parquet")
    for receipt in receipts:
        for item in receipt.files:
            if item.table in rows:
                _link(verified(lake, item), building / item.table / Path(item.path).name)
                rows[item.table] += item.rows
    shutil.rmtree(target, ignore_errors=True)
    building.replace(target)
    return rows


def verified(lake: Path, item: LakeFile) -> Path:
    """The path of a lake file after its hash was checked; plain Parquet does not notice a flipped bit.

    Raises:
        LakeCorruptionError: missing or changed.
    """
    path = lake / item.path
    found = file_sha256(path) if path.is_file() else "missing"
    if found != item.sha256:
        raise LakeCorruptionError(
            f"{item.path} is {found[:12]}, its receipt says {item.sha256[:12]}: restore it from a backup; "
            "nothing was read from it"
        )
    return path


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copy2(source, target)
