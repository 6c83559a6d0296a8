"""Tests that a flipped bit in a file is noticed before the file is used, and that `creditloom verify` names the file.

The files are originals, lake files, marts and models. This is promise R7 of `docs/promises.md`.
"""

import random
from pathlib import Path

import pytest

from dagster_project.ingestion.lake.files import LakeCorruptionError, select
from dagster_project.night.champion import load_champion
from dagster_project.night.publish import nothing_new
from dagster_project.operations.verify import verify
from dagster_project.snapshots.snapshot import SnapshotCorruptionError, current_snapshot, verified
from ml.model import ModelIntegrityError
from support.homes import copy_home, pipeline_in
from support.lake import SEED

FLIPS = 50


@pytest.fixture(scope="module")
def damaged(first_night, tmp_path_factory):
    """Return the pipeline of a copy of a complete night's home.

    All tests of this module share it, so each test must restore every file that it damages.
    """
    return pipeline_in(copy_home(first_night, tmp_path_factory.mktemp("corruption") / "home"))


def lake_files(pipeline):
    return sorted((pipeline.settings.lake / "raw").rglob("*.parquet"))


def read_lake(pipeline):
    select(pipeline.settings.lake, pipeline.settings.home / "read", "taiwan_cards", pipeline.receipts("taiwan_cards"))


def mart_files(pipeline):
    return sorted(p for p in (pipeline.settings.published / "current").resolve().iterdir())


def read_mart(pipeline):
    verified(current_snapshot(pipeline.settings.published))


def model_files(pipeline):
    return sorted(pipeline.model_folder(pipeline.ledger.champion("taiwan_cards").sha256).iterdir())


def read_model(pipeline):
    load_champion(pipeline, "taiwan_cards")


@pytest.mark.parametrize(
    ("files", "read", "error"),
    [
        (lake_files, read_lake, LakeCorruptionError),
        (mart_files, read_mart, SnapshotCorruptionError),
        (model_files, read_model, ModelIntegrityError),
    ],
    ids=["lake", "mart", "model"],
)
def test_flipped_byte_is_caught_before_use(damaged, files, read, error):
    draw, caught = random.Random(f"{SEED}:{files.__name__}"), 0
    there = files(damaged)
    read(damaged)
    for _ in range(FLIPS):
        path = draw.choice(there)
        with flipped(path, draw) as where, pytest.raises(error):
            read(damaged)
            raise AssertionError(f"seed {SEED}: byte {where} of {path} was not noticed")
        caught += 1
    assert caught == FLIPS
    read(damaged)


class flipped:
    """A context in which one random bit of a file is inverted.

    Entering the context returns the position of the changed byte. Leaving the context restores the file.
    """

    def __init__(self, path: Path, draw: random.Random) -> None:
        self.path, self.content = path, path.read_bytes()
        self.where, self.bit = draw.randrange(len(self.content)), 1 << draw.randrange(8)

    def __enter__(self) -> int:
        changed = bytearray(self.content)
        changed[self.where] ^= self.bit
        self.path.write_bytes(bytes(changed))
        return self.where

    def __exit__(self, *_: object) -> None:
        self.path.write_bytes(self.content)


def test_flipped_byte_of_an_original_is_found(damaged):
    draw = random.Random(f"{SEED}:originals")
    (path,) = (damaged.settings.lake / "originals/taiwan_cards").iterdir()
    assert verify(damaged).faults == []
    for _ in range(FLIPS):
        with flipped(path, draw):
            (fault,) = verify(damaged).faults
        assert "its original" in fault.what
        assert "was changed" in fault.what


@pytest.mark.parametrize(
    ("files", "part"), [(lake_files, "receipts"), (mart_files, "snapshots"), (model_files, "champions")]
)
def test_verify_names_the_file(damaged, files, part):
    draw = random.Random(f"{SEED}:named")
    for path in files(damaged):
        with flipped(path, draw):
            faults = verify(damaged).faults
        assert {f.part for f in faults} == {part}, path
        named = path.parent.name[:12] if part == "champions" else path.name
        assert any(named in f.what for f in faults), faults
        assert all(f.advice for f in faults)


def test_damaged_snapshot_is_not_what_tonight_has(damaged):
    """If a table of the current snapshot is damaged, the next night runs even though there are no new files.

    Otherwise the night would report that nothing is new, and readers would keep reading the damaged file.
    """
    draw = random.Random(f"{SEED}:tonight")
    assert nothing_new(damaged)
    tables = [p for p in mart_files(damaged) if p.suffix == ".parquet"]
    with flipped(draw.choice(tables), draw):
        assert not nothing_new(damaged)
