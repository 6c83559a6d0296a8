"""Snapshots, which are published folders with sorted Parquet files, metrics and a manifest.

A snapshot is written under a temporary name. It becomes current when the symbolic link `current` is replaced by a new
link with one rename. Readers resolve this link once, so they never see a mixture of two snapshots.

The hash of a snapshot covers every Parquet file, and every metric whose name does not begin with `run.`. The name of
the folder is the first 16 digits of the hash.
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from dagster_project.home.files import file_sha256, flush, replace_text
from dagster_project.snapshots.fingerprint import values_fingerprint

CURRENT, METRICS, MANIFEST, INPUTS = "current", "metrics.json", "manifest.json", "inputs.json"
_NAME = 16  # number of digits of the hash in the folder's name
_ADVICE = (
    "readers must not use it: restore it from a backup, or remove the link `current` and run `creditloom night`, "
    "which publishes again"
)
Metrics = Mapping[str, float | int | str]


class SnapshotCorruptionError(RuntimeError):
    """Raised if the files of a snapshot differ from what was published."""


@dataclass(frozen=True)
class SnapshotTable:
    """One table of a snapshot.

    `write` is a function that writes the sorted table as Parquet to the given path and returns the number of rows.
    """

    name: str
    write: Callable[[Path], int]


def table_of(name: str, frame: pl.DataFrame, sorted_by: Sequence[str]) -> SnapshotTable:
    """Return a snapshot table with the rows of `frame`, sorted by the columns in `sorted_by`."""

    def write(path: Path) -> int:
        frame.sort(sorted_by).write_parquet(path, compression="zstd", statistics=True)
        return frame.height

    return SnapshotTable(name, write)


@dataclass(frozen=True)
class Snapshot:
    """A published snapshot.

    `folder` is the folder with its files, and `sha256` is its hash as stated in its manifest.
    """

    folder: Path
    sha256: str

    @property
    def snapshot_id(self) -> str:
        """Return the ID of the snapshot, which is the name of its folder."""
        return self.folder.name

    def metrics(self) -> dict[str, float | int | str]:
        """Read the metrics of the snapshot, and return their values by name."""
        values: dict[str, float | int | str] = json.loads((self.folder / METRICS).read_text())
        return values


def current_snapshot(published: Path) -> Snapshot | None:
    """Return the current snapshot, which is the one that readers use, or None if nothing was published yet.

    The files of the snapshot are not verified.

    Raises:
        SnapshotCorruptionError: if the manifest is missing or unreadable.
    """
    pointer = published / CURRENT
    if not pointer.exists():
        return None
    return open_snapshot(pointer.resolve())


def open_snapshot(folder: Path) -> Snapshot:
    """Return the snapshot in a folder. Its files are not verified; `snapshot_faults` does that.

    Raises:
        SnapshotCorruptionError: if the manifest is missing or unreadable.
    """
    try:
        return Snapshot(folder, json.loads((folder / MANIFEST).read_text())["snapshot_sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        raise SnapshotCorruptionError(f"{folder / MANIFEST} is missing or unreadable; {_ADVICE}") from None


def snapshot_faults(folder: Path) -> list[str]:
    """Return one text for each difference between the files in a snapshot's folder and what was published.

    The list is empty if there is no difference. The hash of every file is checked, because reading a Parquet file does
    not reveal a changed bit.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        files, recorded_sha256 = dict(manifest["files"]), manifest["snapshot_sha256"]
        hashes = {name: item["sha256"] for name, item in files.items()} | {METRICS: manifest["metrics_sha256"]}
    except (OSError, ValueError, KeyError, TypeError):
        return [f"{MANIFEST} is missing or unreadable"]
    there = {path.name for path in folder.iterdir()} - {MANIFEST}
    faults = [f"{name} is missing" for name in sorted(hashes.keys() - there)]
    faults += [f"{name} is not in the manifest" for name in sorted(there - hashes.keys())]
    changed = [n for n in sorted(hashes.keys() & there) if file_sha256(folder / n) != hashes[n]]
    faults += [f"{name} was changed" for name in changed]
    if not faults and (
        _snapshot_sha256(files, _stable(folder)) != recorded_sha256 or folder.name != recorded_sha256[:_NAME]
    ):
        faults.append(f"{MANIFEST} was changed")
    return faults


def verified(snapshot: Snapshot) -> Snapshot:
    """Verify every file of a snapshot, and return the same snapshot if there is no fault.

    Raises:
        SnapshotCorruptionError: if the files of the snapshot differ from what was published.
    """
    faults = snapshot_faults(snapshot.folder)
    if faults:
        raise SnapshotCorruptionError(f"snapshot {snapshot.snapshot_id}: {'; '.join(faults)}; {_ADVICE}")
    return snapshot


def current_inputs(published: Path) -> Mapping[str, str] | None:
    """Return the fingerprints of the inputs of the last successful night, by name.

    Return None if there is no current snapshot, if no inputs were recorded, or if the current snapshot is not the one
    that the last successful night published.
    """
    snapshot, record = current_snapshot(published), published / INPUTS
    if snapshot is None or not record.exists():
        return None
    last = json.loads(record.read_text())
    inputs: dict[str, str] = last["inputs"]
    return inputs if last["snapshot_sha256"] == snapshot.sha256 else None


def write_snapshot(
    published: Path,
    tables: Sequence[SnapshotTable],
    metrics: Metrics,
    inputs: Mapping[str, str],
    *,
    make_current: bool = True,
    admit: Callable[[], None] = lambda: None,
) -> tuple[Snapshot, bool]:
    """Write a snapshot and make it the current one.

    If the content equals that of the current snapshot, `current` does not change, and only the inputs of the night are
    recorded. If a snapshot with the same content exists but is damaged, it is repaired.

    Args:
        published: the folder of all snapshots.
        tables: the tables of the snapshot.
        metrics: the metrics of the snapshot, by name.
        inputs: the fingerprints of the night's inputs, by name.
        make_current: if False, the snapshot is written, but `current` does not change and the inputs are not recorded.
        admit: a function that is called before new content becomes current. It can raise an error to prevent this.

    Returns:
        The snapshot, and whether its content differs from that of the snapshot that was current before.
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
    _write_json(building / METRICS, metrics)
    sha256 = _snapshot_sha256(files, _stable(building))
    metrics_sha256 = file_sha256(building / METRICS)
    _write_json(building / MANIFEST, {"snapshot_sha256": sha256, "metrics_sha256": metrics_sha256, "files": files})
    final = published / sha256[:_NAME]
    changed = before is None or before.sha256 != sha256
    if changed and make_current:
        admit()
    if not final.exists():
        for path in building.iterdir():
            flush(path)
        flush(building)
        building.replace(final)
    elif snapshot_faults(final):
        _repair(final, building)
    else:
        shutil.rmtree(building)
    if not make_current:
        return Snapshot(final, sha256), changed
    if changed:
        _point(published, final)
    replace_text(published / INPUTS, json.dumps({"snapshot_sha256": sha256, "inputs": dict(inputs)}, indent=1))
    return Snapshot(final, sha256), changed


def _repair(final: Path, building: Path) -> None:
    """Replace the files of a damaged snapshot with those in `building`, and remove files that do not belong to it.

    Each file is replaced by one rename, so that readers find either the damaged file or the repaired one.
    """
    for path in sorted(building.iterdir(), key=lambda p: p.name == MANIFEST):  # replace the manifest last
        flush(path)
        path.replace(final / path.name)
    for unexpected in {p.name for p in final.iterdir()} - set(json.loads((final / MANIFEST).read_text())["files"]):
        if unexpected not in (MANIFEST, METRICS):
            (final / unexpected).unlink()
    flush(final)
    shutil.rmtree(building)


def _stable(folder: Path) -> dict[str, object]:
    """Return the metrics that the snapshot's hash covers, which are all whose names do not begin with `run.`."""
    metrics: dict[str, object] = json.loads((folder / METRICS).read_text())
    return {name: value for name, value in metrics.items() if not name.startswith("run.")}


def _snapshot_sha256(files: Mapping[str, object], stable: Mapping[str, object]) -> str:
    return values_fingerprint({"files": files, "metrics": stable})


def _point(published: Path, folder: Path) -> None:
    """Make the link `current` point to a snapshot's folder. The link is replaced by one rename."""
    fresh = published / f".{CURRENT}.new"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(folder.name, target_is_directory=True)
    fresh.replace(published / CURRENT)
    flush(published)


def _write_json(path: Path, values: Mapping[str, object]) -> None:
    path.write_text(json.dumps(values, indent=1, sort_keys=True) + "\n")
