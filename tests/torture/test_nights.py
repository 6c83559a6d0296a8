"""Tests of complete nights and backfills that are killed, get shuffled files, or run on a full disk.

They check the promises R1, R5 and R8 of `docs/promises.md`. The tests of R5 and R8 take minutes, so they run only with
`make torture`. The environment variable `NIGHTS` sets how many nights are killed. To repeat a run, set `SEED` to the
seed that the failure states.
"""

import json
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from dagster_project.operations.verify import verify
from dagster_project.snapshots.snapshot import current_snapshot, snapshot_faults, verified
from support.disks import Filler, mounted
from support.lake import SEED, assert_lake_is, drop, empty_home, lake_of
from support.oracles.kill import Reference, book_of_loans, month_file
from support.young_lender import command, lender, pipeline_of

NIGHTS = int(os.environ.get("NIGHTS", "5"))


def night(home, *options):
    with command(home, "night", "--json", *options) as run:
        said, complaint = run.communicate()
    assert said, complaint
    return json.loads(said.splitlines()[-1])


def test_whole_nights_lose_nothing_whenever_they_are_killed(tmp_path):
    """If nights are killed at random times, no row or cent is lost, and the next night continues.

    The kill ends the whole process group of a night. The first night of the home may be killed, too.
    """
    draw, home, expected = random.Random(f"{SEED}:nights"), empty_home(tmp_path / "home"), Reference()
    began = time.monotonic()
    measured = empty_home(tmp_path / "measured")
    for delivery in (book_of_loans(), month_file(0, draw, "clean")):
        drop(measured, delivery)
    assert night(measured)["exit"] == 0
    lasts, killed_at, shown = time.monotonic() - began, [], None
    pipeline = pipeline_of(home)
    drop(home, book_of_loans())
    expected.add(book_of_loans().becomes)
    for number in range(NIGHTS):
        delivery = month_file(number, draw)
        drop(home, delivery)
        expected.add(delivery.becomes)
        killed_at.append(round(draw.random() * lasts, 2))
        run = command(home, "night", "--json")
        time.sleep(killed_at[-1])
        os.killpg(run.pid, signal.SIGKILL)
        run.communicate()
        found = lake_of(pipeline, tmp_path / "selection")
        assert not found.statements - expected.statements, (SEED, killed_at)
        snapshot = current_snapshot(home / "published")
        assert snapshot is None or snapshot_faults(snapshot.folder) == [], (SEED, killed_at)
        assert shown is None or snapshot is not None, (SEED, killed_at)
        shown = snapshot
        if draw.random() < 0.5:
            assert night(home)["exit"] == 0, (SEED, killed_at)
            assert_lake_is(pipeline, tmp_path / "selection", expected, (SEED, killed_at))
    assert night(home)["exit"] == 0, (SEED, killed_at)
    assert_lake_is(pipeline, tmp_path / "selection", expected, (SEED, killed_at))
    metrics = verified(current_snapshot(home / "published")).metrics()
    for outcome in ("landed", "accepted", "quarantined", "duplicate"):
        assert metrics[f"ingest.{outcome}_rows"] == expected.rows[outcome], (SEED, killed_at)
        assert metrics[f"ingest.{outcome}_minor"] == expected.cents[outcome], (SEED, killed_at)
    assert verify(pipeline).faults == [], (SEED, killed_at)


@pytest.mark.long
def test_shuffled_and_interrupted_backfill_ends_as_an_ordered_one(tmp_path):
    """A backfill of shuffled files that is killed four times publishes the same tables as one ordered load.

    This is promise R5. The book has 24 months, and the tables are compared byte by byte.
    """
    draw = random.Random(f"{SEED}:backfill")
    deliveries = [book_of_loans(), *(month_file(m, draw, "clean") for m in range(24))]
    ordered = empty_home(tmp_path / "ordered")
    for delivery in deliveries:
        drop(ordered, delivery)
    assert night(ordered)["exit"] == 0

    home = empty_home(tmp_path / "shuffled")
    pipeline, shuffled = pipeline_of(home), deliveries.copy()
    draw.shuffle(shuffled)
    for part in range(0, len(shuffled), 7):
        for delivery in shuffled[part : part + 7]:
            drop(home, delivery)
        before = len(pipeline.ingest_context.book.all())
        run = command(home, "backfill", "--json")
        while len(pipeline.ingest_context.book.all()) < before + draw.randrange(1, 4):
            assert run.poll() is None, run.communicate()
            time.sleep(0.02)
        os.killpg(run.pid, signal.SIGKILL)
        run.communicate()
    with command(home, "backfill", "--json") as run:
        said = json.loads(run.communicate()[0].splitlines()[-1])
    assert said["exit"] == 0, said
    one, other = (verified(current_snapshot(place / "published")) for place in (ordered, home))
    assert one.sha256 == other.sha256, SEED
    for table in one.folder.glob("*.parquet"):
        assert table.read_bytes() == (other.folder / table.name).read_bytes(), table.name
    assert verify(pipeline).faults == []


@pytest.mark.long
def test_night_on_a_full_disk_keeps_what_is_published_and_goes_on(tmp_path):
    """A night on a full disk keeps the current snapshot, and a new night publishes once there is room (promise R8).

    There are up to three rounds. In each, one night is refused because there is too little space at its start. During
    another one, the disk fills up at a random moment, which may make the night fail.
    """
    with mounted(tmp_path / "disk", 300) as disk:
        draw, home = random.Random(f"{SEED}:full night"), disk / "home"
        pipeline = lender(home)
        landed = sorted((home / "landing/young_lender").iterdir())
        later = [Path(shutil.move(path, tmp_path)) for path in landed[-min(NIGHTS, 3) :]]
        assert night(home)["exit"] == 0
        filler, failed = Filler(disk), 0
        for path in later:
            before = current_snapshot(home / "published")
            (home / "landing/young_lender" / path.name).write_bytes(path.read_bytes())
            filler.leave(20 << 20)
            assert "free some space, then start it again" in night(home)["failures"][0]
            assert current_snapshot(home / "published") == before
            filler.remove()
            taken_in, run = len(pipeline.ingest_context.book.all()), command(home, "night", "--json")
            while len(pipeline.ingest_context.book.all()) == taken_in:  # the preflight is behind it
                assert run.poll() is None, run.communicate()
                time.sleep(0.05)
            time.sleep(draw.random() * 5)
            filler.leave(draw.choice((0, 1 << 16, 1 << 20, 3 << 20)))
            said = json.loads(run.communicate()[0].splitlines()[-1])
            snapshot = verified(current_snapshot(home / "published"))
            if said["exit"]:
                failed += 1
                assert "was full" in said["failures"][0], said
                assert snapshot == before
            filler.remove()
            assert night(home)["exit"] == 0
        assert failed, "the disk was full at least once"
        assert verify(pipeline).faults == []
