"""Tests of snapshots: their content hashes, the switch of `current` to a new one, and the repair of damaged files."""

import json

import polars as pl
import pytest

from dagster_project.snapshots.snapshot import (
    SnapshotCorruptionError,
    current_inputs,
    current_snapshot,
    snapshot_faults,
    table_of,
    verified,
    write_snapshot,
)

FRAME = pl.DataFrame({"k": [2, 1, 3], "v": ["b", "a", "c"]})


def table(frame=FRAME):
    return [table_of("t", frame, ("k",))]


def test_content_decides_the_hash_and_the_run_does_not(tmp_path):
    first, changed = write_snapshot(tmp_path, table(), {"a.b": 1, "run.seconds": 1.0}, {"code": "x"})
    assert changed
    again, changed = write_snapshot(tmp_path, table(FRAME.reverse()), {"a.b": 1, "run.seconds": 9.0}, {"code": "y"})
    assert not changed
    assert (again.sha256, again.folder) == (first.sha256, first.folder)
    assert again.metrics()["run.seconds"] == 1.0, "what readers see is not touched"
    assert current_inputs(tmp_path) == {"code": "y"}
    other, changed = write_snapshot(tmp_path, table(), {"a.b": 2}, {})
    assert changed
    assert other.sha256 != first.sha256


def test_pointer_flips_and_the_old_snapshot_stays(tmp_path):
    first, _ = write_snapshot(tmp_path, table(), {"a.b": 1}, {})
    reader = (tmp_path / "current").resolve()
    second, _ = write_snapshot(tmp_path, table(FRAME.head(1)), {"a.b": 1}, {})
    assert current_snapshot(tmp_path).sha256 == second.sha256
    assert pl.read_parquet(reader / "t.parquet").height == 3, "who resolved `current` before still reads the old one"
    assert reader == first.folder.resolve()


def test_files_are_sorted_and_match_the_manifest(tmp_path):
    snapshot, _ = write_snapshot(tmp_path, table(), {"b.c": 1, "a.b": 2}, {})
    assert pl.read_parquet(snapshot.folder / "t.parquet")["k"].to_list() == [1, 2, 3]
    manifest = json.loads((snapshot.folder / "manifest.json").read_text())
    assert manifest["files"]["t.parquet"]["rows"] == 3
    assert list(json.loads((snapshot.folder / "metrics.json").read_text())) == ["a.b", "b.c"]


def test_damaged_snapshot_is_made_whole_when_it_is_published_again(tmp_path):
    first, _ = write_snapshot(tmp_path, table(), {"a.b": 1, "run.s": 1}, {})
    whole = {p.name: p.read_bytes() for p in first.folder.iterdir() if p.suffix == ".parquet"}
    (first.folder / "t.parquet").write_bytes(b"not what was published")
    (first.folder / "stranger.parquet").write_bytes(b"from elsewhere")
    (first.folder / "metrics.json").unlink()
    assert [f.split()[0] for f in snapshot_faults(first.folder)] == ["metrics.json", "stranger.parquet", "t.parquet"]
    with pytest.raises(SnapshotCorruptionError, match=r"t\.parquet was changed"):
        verified(first)
    again, changed = write_snapshot(tmp_path, table(), {"a.b": 1, "run.s": 2}, {})
    assert (again, changed) == (first, False)
    assert snapshot_faults(first.folder) == []
    assert {p.name: p.read_bytes() for p in first.folder.iterdir() if p.suffix == ".parquet"} == whole


def test_other_content_may_be_refused_before_it_is_shown(tmp_path):
    def refuse():
        raise RuntimeError("no")

    first, _ = write_snapshot(tmp_path, table(), {"a.b": 1}, {}, admit=lambda: None)
    write_snapshot(tmp_path, table(), {"a.b": 1}, {}, admit=refuse)
    with pytest.raises(RuntimeError, match="no"):
        write_snapshot(tmp_path, table(), {"a.b": 2}, {}, admit=refuse)
    assert current_snapshot(tmp_path).sha256 == first.sha256


@pytest.mark.parametrize("text", ["", "{", '{"files": {}}', "[]"])
def test_snapshot_without_a_manifest_that_can_be_read_says_what_to_do(tmp_path, text):
    snapshot, _ = write_snapshot(tmp_path, table(), {"a.b": 1}, {})
    (snapshot.folder / "manifest.json").write_text(text)
    with pytest.raises(SnapshotCorruptionError, match="restore it from a backup"):
        current_snapshot(tmp_path)
    assert snapshot_faults(snapshot.folder) == ["manifest.json is missing or unreadable"]
