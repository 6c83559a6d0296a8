"""Tests of a disk that is full while files are ingested or a snapshot is published (promise R8 in `docs/promises.md`).

The error must be clear, the previous state must stay available, and work must continue once there is room. Most tests
mount a small file system. Where this is not possible, they are skipped with a message.
"""

import random
import sys

import dagster as dg
import pytest

from dagster_project.defs.resources import build_night_resource
from dagster_project.home.disk_space import DiskFullError, check_disk_space
from dagster_project.operations import run_night as night_module
from dagster_project.operations.run_night import run_night
from dagster_project.operations.verify import verify
from dagster_project.snapshots.snapshot import current_snapshot, snapshot_faults
from support.disks import Filler, mounted
from support.lake import SEED, assert_lake_is, drop, empty_home, lake_of
from support.oracles.kill import Reference, book_of_loans, month_file
from support.young_lender import lender, pipeline_of

SAYS_FULL = ("No space left on device", "disk is full", "disk I/O error")


@pytest.fixture
def small_disk(tmp_path, request):
    """Mount a file system of `request.param` megabytes for the test, and yield its path."""
    with mounted(tmp_path / "disk", request.param) as place:
        yield place


@pytest.mark.parametrize("small_disk", [8], indirect=True)
def test_taking_in_goes_on_once_there_is_room(victims, small_disk, tmp_path):
    draw, home, expected = random.Random(f"{SEED}:full"), empty_home(small_disk / "home"), Reference()
    filler, pipeline, failed = Filler(small_disk), pipeline_of(home), set()
    for delivery in (book_of_loans(), month_file(0, draw)):
        drop(home, delivery)
        expected.add(delivery.becomes)
    assert victims.run("take_in", home)["error"] is None
    _ = pipeline.ingest_context  # opens the key store, which needs a little room to be opened
    for month in range(1, 13):
        delivery = month_file(month, draw)
        drop(home, delivery)
        filler.leave(draw.randrange(0, 1 << 16))
        result = victims.run("take_in", home)
        if result["error"]:
            assert any(words in result["error"] for words in SAYS_FULL), (SEED, result)
            failed.add(result["error"])
        before = lake_of(pipeline, tmp_path / "selection")
        assert not before.statements - expected.statements - delivery.becomes.statements
        filler.remove()
        assert victims.run("take_in", home)["error"] is None
        expected.add(delivery.becomes)
        assert_lake_is(pipeline, tmp_path / "selection", expected, (SEED, month))
    assert failed, "the disk was full at least once"
    assert verify(pipeline).faults == []


@pytest.mark.parametrize("small_disk", [4], indirect=True)
def test_publishing_leaves_the_old_until_there_is_room(victims, small_disk):
    draw, home, filler, failed = random.Random(f"{SEED}:publish"), small_disk / "home", Filler(small_disk), 0
    assert victims.run("publish_one", home, number=0)["error"] is None
    for number in range(1, 16):
        filler.leave(draw.randrange(0, 40_000))
        result = victims.run("publish_one", home, number=number)
        shown = current_snapshot(home / "published")
        assert snapshot_faults(shown.folder) == [], SEED
        if result["error"]:
            failed += 1
            assert any(words in result["error"] for words in SAYS_FULL), (SEED, result)
            assert shown.metrics()["a.number"] in (number - 1, number)
        filler.remove()
        assert victims.run("publish_one", home, number=number)["error"] is None
        assert current_snapshot(home / "published").metrics()["a.number"] == number
    assert failed > 2


@pytest.mark.parametrize("small_disk", [40], indirect=True)
def test_night_without_room_is_refused_however_it_is_started(small_disk):
    pipeline = lender(small_disk / "home")
    with pytest.raises(DiskFullError, match="Nothing was started"):
        run_night(pipeline)
    night = build_night_resource(pipeline).resource_fn
    with pytest.raises(DiskFullError):
        next(night(dg.build_init_resource_context(config={"intake": True})))
    assert len(list((small_disk / "home/landing/young_lender").iterdir())) == 11


@pytest.mark.parametrize("small_disk", [70], indirect=True)
def test_needed_room_includes_what_a_night_rewrites(small_disk):
    """The space that a night needs includes the size of the warehouse, because the night writes it again.

    A night needs 64 MB, twice the size of the waiting files, and the sizes of the warehouse and the current snapshot.
    """
    warehouse = small_disk / "w"
    check_disk_space(small_disk, 1 << 20, warehouse, None)
    warehouse.write_bytes(b"0" * (5 << 20))
    with pytest.raises(DiskFullError, match="free some space, then start it again"):
        check_disk_space(small_disk, 1 << 20, warehouse, None)


def test_full_disk_that_shows_when_the_log_of_the_tools_is_closed(tmp_path, monkeypatch):
    """A night whose log cannot be closed on a full disk ends with an error which states that the disk was full.

    Closing the log writes the rest of its text, which fails if the disk is full. This second failure must not replace
    the clear error.
    """
    pipeline = pipeline_of(empty_home(tmp_path / "home"))

    def _run(pipeline, _started):
        log = pipeline.settings.home / "logs" / "night.log"
        log.parent.mkdir(exist_ok=True)
        log.symlink_to("/dev/full")
        with night_module._output_to(log):
            sys.stdout.write("what a tool says")
            raise OSError("the first that failed")

    monkeypatch.setattr(night_module, "_run", _run)
    with pytest.raises(DiskFullError, match="was full"):
        night_module.run_night(pipeline, force=True)
