"""Functions for the Parquet files of the lake, and for the selection of these files that a night reads.

A file is written under a temporary name and then renamed. The file and its folder are flushed to disk before a receipt
that names the file is committed. A night reads the files through hard links. Links are made only to files that a
receipt names and whose hash is correct, so a night never reads a file that a crash left without a receipt. The folder
of each table also has an empty Parquet file, which provides the schema if there are no rows.
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
    """A file of the lake is missing, or its hash differs from the hash in its receipt."""


def write_parquet(
    frame: pl.DataFrame,
    path: Path,
    metadata: dict[str, str] | None = None,
    *,
    flushed: bool = True,
    statistics: bool = True,
) -> str:
    """Write a data frame to a Parquet file, atomically.

    Returns the sha256 of the file's content, in hexadecimal.

    Args:
        frame: the rows to write.
        path: the path of the file. Missing folders are created, and an existing file is replaced.
        metadata: key-value metadata to store in the Parquet file.
        flushed: whether to flush the file and its folder to disk. If False, the caller must call `flush_files` before
            it commits a receipt that names the file.
        statistics: whether to write column statistics, which let a reader of few rows skip row groups.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + TMP)
    buffer = io.BytesIO()  # in memory, so that the hash needs no second read of the file
    frame.write_parquet(buffer, compression="zstd", compression_level=1, statistics=statistics, metadata=metadata)
    temporary.write_bytes(buffer.getbuffer())
    digest = hashlib.sha256(buffer.getbuffer()).hexdigest()
    if flushed:
        flush(temporary)
    temporary.replace(path)
    if flushed:
        flush(path.parent)
    return digest


def flush_files(lake: Path, receipts: Iterable[Receipt]) -> None:
    """Flush the files that these receipts name to disk, and then each of their folders once."""
    paths = {lake / item.path for receipt in receipts for item in receipt.files}
    for path in sorted(paths):
        flush(path)
    for folder in sorted({path.parent for path in paths}):
        flush(folder)


def sweep(folder: Path) -> int:
    """Remove the temporary files that a crash left in a folder and its subfolders.

    Returns the number of files removed, which is 0 if the folder does not exist.
    """
    leftovers = list(folder.rglob(f"*{TMP}")) if folder.exists() else []
    for path in leftovers:
        path.unlink()
    return len(leftovers)


def select(
    lake: Path, selection: Path, source: str, receipts: Iterable[Receipt], tables: Collection[str] = tuple(CANONICAL)
) -> dict[str, int]:
    """Create links to the lake files that `receipts` name, in the folders `selection/<source>/<table>/`.

    Files are copied where hard links are not possible. Returns the number of rows in the linked files, by table.

    Args:
        lake: the folder of the lake. The paths in receipts are relative to it.
        selection: the folder for the links. Links of an earlier selection for this source are replaced.
        source: the name of the source.
        receipts: receipts of the source.
        tables: the canonical tables whose files are linked.

    Raises:
        LakeCorruptionError: a file is missing, or its hash differs from the hash in its receipt.
    """
    target = selection / source
    building = target.with_name(target.name + TMP)
    shutil.rmtree(building, ignore_errors=True)
    rows = dict.fromkeys(tables, 0)
    for table in tables:
        folder = building / table
        folder.mkdir(parents=True)
        pl.DataFrame(schema=raw_schema(table)).write_parquet(folder / "_empty.parquet")
    linked = set()
    for receipt in receipts:
        for item in receipt.files:
            if item.table in rows:
                if item.path not in linked:  # receipts of small files share it
                    _link(verified(lake, item), building / item.table / Path(item.path).name)
                    linked.add(item.path)
                rows[item.table] += item.rows
    shutil.rmtree(target, ignore_errors=True)
    building.replace(target)
    return rows


def verified(lake: Path, item: LakeFile) -> Path:
    """Return the path of a lake file after checking its hash.

    The check is needed because a Parquet reader might not notice a flipped bit.

    Raises:
        LakeCorruptionError: the file is missing, or its hash differs from the hash in its receipt.
    """
    path = lake / item.path
    found = file_sha256(path) if path.is_file() else "missing"
    if found != item.sha256:
        raise LakeCorruptionError(
            f"the sha256 of {item.path} is {found[:12]}, but its receipt says {item.sha256[:12]}: restore the file "
            "from a backup; nothing was read from it"
        )
    return path


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or a file system without hard links
        shutil.copy2(source, target)
