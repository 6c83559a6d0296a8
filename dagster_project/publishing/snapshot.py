"""Snapshots: a folder of sorted Parquet files, its metrics and its manifest, and the pointer that readers follow.

A snapshot is written beside its final name, and becomes current when a symbolic link is renamed over the old one.
Readers resolve `current` once and so never see a mixture. The snapshot's hash covers the bytes of every file and
every metric that does not begin with `run.`; its name is the beginning of that hash.
"""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from dagster_project.publishing.fingerprint import values_fingerprint

CURRENT, METRICS, MANIFEST = "current", "metrics.json", "manifest.json"
Metrics = Mapping[str, float | int | str]


@dataclass(frozen=True)
class PublishedTable:
    """One table of a snapshot and the columns that it is sorted by."""

    name: str
    frame: pl.DataFrame
    sorted_by: Sequence[str]


@dataclass(frozen=True)
class Snapshot:
    """A published snapshot: its folder, its hash, and the inputs that made it."""

    folder: Path
    sha256: str
    inputs: Mapping[str, str]

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
    folder = pointer.resolve()
    manifest = json.loads((folder / MANIFEST).read_text())
    return Snapshot(folder, manifest["snapshot_sha256"], manifest["inputs"])


def publish(
    published: Path, tables: Sequence[PublishedTable], metrics: Metrics, inputs: Mapping[str, str]
) -> tuple[Snapshot, bool]:
    """Write a snapshot and make it current. Returns it, and whether its content differs from the one before."""
    before = current_snapshot(published)
    building = published / ".building"
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    files = {}
    for table in sorted(tables, key=lambda t: t.name):
        path = building / f"{table.name}.parquet"
        table.frame.sort(table.sorted_by).write_parquet(path, compression="zstd", statistics=True)
        files[path.name] = {"sha256": _sha256(path), "rows": table.frame.height}
    stable = {name: value for name, value in metrics.items() if not name.startswith("run.")}
    sha256 = values_fingerprint({"files": files, "metrics": stable})
    manifest = {"snapshot_sha256": sha256, "files": files, "inputs": dict(inputs)}
    _write_json(building / METRICS, dict(sorted(metrics.items())))
    _write_json(building / MANIFEST, manifest)
    _flush(building)

    final = published / sha256[:16]
    changed = before is None or before.sha256 != sha256
    if final.exists():
        # The same content again: only what describes the run is renewed.
        for name in (METRICS, MANIFEST):
            (building / name).replace(final / name)
        shutil.rmtree(building)
    else:
        building.replace(final)
    _point(published, final)
    return Snapshot(final, sha256, inputs), changed


def _point(published: Path, folder: Path) -> None:
    """Let `current` point at a folder, in one rename."""
    fresh = published / f".{CURRENT}.new"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(folder.name, target_is_directory=True)
    fresh.replace(published / CURRENT)


def _write_json(path: Path, values: Mapping[str, object]) -> None:
    path.write_text(json.dumps(values, indent=1, sort_keys=True) + "\n")


def _flush(folder: Path) -> None:
    for path in folder.iterdir():
        with path.open("rb") as handle:
            os.fsync(handle.fileno())


def _sha256(path: Path) -> str:
    import hashlib

    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
