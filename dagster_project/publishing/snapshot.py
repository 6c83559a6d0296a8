"""Snapshots: a folder of sorted Parquet files, its metrics and its manifest, and the pointer that readers follow.

A snapshot is written beside its final name, and becomes current when a symbolic link is renamed over the old one.
Readers resolve `current` once and so never see a mixture. The snapshot's hash covers the bytes of every file and
every metric that does not begin with `run.`; its name is the beginning of that hash.
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from dagster_project.files import file_sha256, flush, replace_text
from dagster_project.publishing.fingerprint import values_fingerprint

CURRENT, METRICS, MANIFEST, INPUTS = "current", "metrics.json", "manifest.json", "inputs.json"
Metrics = Mapping[str, float | int | str]


@dataclass(frozen=True)
class PublishedTable:
    """One table of a snapshot. `write` makes its Parquet file, sorted by its keys, and returns how many rows it has."""

    name: str
    write: Callable[[Path], int]


def table_of(name: str, frame: pl.DataFrame, sorted_by: Sequence[str]) -> PublishedTable:
    """A table that is a frame."""

    def write(path: Path) -> int:
        frame.sort(sorted_by).write_parquet(path, compression="zstd", statistics=True)
        return frame.height

    return PublishedTable(name, write)


@dataclass(frozen=True)
class Snapshot:
    """A published snapshot: its folder and its hash."""

    folder: Path
    sha256: str

    @property
    def snapshot_id(self) -> str:
        """Name of the folder."""
        return self.folder.name

    def metrics(self) -> dict[str, float | int | str]:
        """The metric store."""
        values: dict[str, float | int | str] = json.loads((self.folder / METRICS).read_text())
        return values


def current_snapshot(published: Path) -> Snapshot | None:
    """The snapshot that readers see, or None before the first."""
    pointer = published / CURRENT
    if not pointer.exists():
        return None
    return open_snapshot(pointer.resolve())


def open_snapshot(folder: Path) -> Snapshot:
    """The snapshot in a folder."""
    return Snapshot(folder, json.loads((folder / MANIFEST).read_text())["snapshot_sha256"])


def current_inputs(published: Path) -> Mapping[str, str] | None:
    """The inputs of the last night that ended well, if the snapshot that it left is still current."""
    snapshot, record = current_snapshot(published), published / INPUTS
    if snapshot is None or not record.exists():
        return None
    last = json.loads(record.read_text())
    inputs: dict[str, str] = last["inputs"]
    return inputs if last["snapshot_sha256"] == snapshot.sha256 else None


def publish(
    published: Path,
    tables: Sequence[PublishedTable],
    metrics: Metrics,
    inputs: Mapping[str, str],
    *,
    make_current: bool = True,
) -> tuple[Snapshot, bool]:
    """Publish a snapshot and make it current. Returns it, and whether its content differs from the current one.

    Where the content is the same, nothing that readers see is touched; only the night's inputs are noted. Without
    `make_current` the snapshot is only laid beside the others.
    """
    before = current_snapshot(published)
    building = published / ".building"
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    files = {}
    for table in sorted(tables, key=lambda t: t.name):
        path = building / f"{table.name}.parquet"
        rows = table.write(path)
        files[path.name] = {"sha256": file_sha256(path), "rows": rows}
    stable = {name: value for name, value in metrics.items() if not name.startswith("run.")}
    sha256 = values_fingerprint({"files": files, "metrics": stable})
    final = published / sha256[:16]
    changed = before is None or before.sha256 != sha256
    if changed and not final.exists():
        _write_json(building / METRICS, metrics)
        _write_json(building / MANIFEST, {"snapshot_sha256": sha256, "files": files})
        for path in building.iterdir():
            flush(path)
        flush(building)
        building.replace(final)
    else:
        shutil.rmtree(building)
    if not make_current:
        return Snapshot(final, sha256), changed
    if changed:
        _point(published, final)
    replace_text(published / INPUTS, json.dumps({"snapshot_sha256": sha256, "inputs": dict(inputs)}, indent=1))
    return Snapshot(final, sha256), changed


def _point(published: Path, folder: Path) -> None:
    """Let `current` point at a folder, in one rename."""
    fresh = published / f".{CURRENT}.new"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(folder.name, target_is_directory=True)
    fresh.replace(published / CURRENT)
    flush(published)


def _write_json(path: Path, values: Mapping[str, object]) -> None:
    path.write_text(json.dumps(values, indent=1, sort_keys=True) + "\n")
