"""Tests with several processes that work on one home at the same time.

They check two promises of `docs/promises.md`. R3: the same content changes nothing when it is delivered again. R4:
nights and readers do not disturb each other.
"""

import json
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import polars as pl
import pytest

from dagster_project.ingestion.lake.receipts import State
from dagster_project.operations.verify import verify
from dagster_project.snapshots.snapshot import current_snapshot, verified
from support.lake import SEED, assert_lake_is, drop, empty_home
from support.oracles.kill import Reference, book_of_loans, copy_of, month_file
from support.young_lender import command, lender, pipeline_of

AT_ONCE = 4


def test_one_file_ten_times_is_one_delivery_and_nine_duplicates(victims, tmp_path):
    """If four processes ingest one file under ten names, one delivery is accepted and nine are duplicates.

    The accepted delivery has one bad row, which is quarantined. Two of the ten files are compressed. When all ten are
    dropped again, no file of the lake is rewritten.
    """
    draw, home, expected = random.Random(f"{SEED}:ten times"), empty_home(tmp_path / "home"), Reference()
    original = month_file(0, draw, "bad")
    names = [f"2024-01-{n}.csv" for n in range(7)] + ["2024-01.csv.zip", "2024-01.csv.gz"]
    deliveries = [book_of_loans(), original, *(copy_of(original, name) for name in names)]
    for delivery in deliveries:
        drop(home, delivery)
        expected.add(delivery.becomes)
    job = {"what": "take_in_until_nothing_waits", "home": str(home)}
    results = victims.run_all([job] * AT_ONCE)
    assert [t["error"] for t in results] == [None] * AT_ONCE, (SEED, results)
    pipeline = pipeline_of(home)
    assert_lake_is(pipeline, tmp_path / "selection", expected, SEED)
    states = [r.state for r in pipeline.ingest_context.book.all() if not r.file_name.startswith("book")]
    assert sorted(states) == [State.DUPLICATE] * 9 + [State.PARTIAL]
    before = {p: p.stat().st_ino for p in (home / "lake/raw").rglob("*.parquet")}
    for delivery in deliveries[1:]:
        drop(home, copy_of(original, delivery.name))
        expected.add(copy_of(original, delivery.name).becomes)
    assert victims.run_all([job])[0]["error"] is None
    assert_lake_is(pipeline, tmp_path / "selection", expected, SEED)
    assert {p: p.stat().st_ino for p in (home / "lake/raw").rglob("*.parquet")} == before, "nothing was written again"


def test_four_publish_and_four_read_at_once(victims, tmp_path):
    """While four processes publish snapshots, four readers always find a complete snapshot of a single night."""
    home = tmp_path / "home"
    assert victims.run("publish_one", home, number=0)["error"] is None
    writers = [
        {"what": "publish_several", "home": str(home), "numbers": [w * 10 + n for n in range(8)]}
        for w in range(AT_ONCE)
    ]
    readers = [{"what": "read_on", "home": str(home), "seconds": 3}] * AT_ONCE
    results = victims.run_all([*readers, *writers])
    assert [t["error"] for t in results] == [None] * 2 * AT_ONCE, results
    read, wrote = results[:AT_ONCE], results[AT_ONCE:]
    assert sum(w["done"] for w in wrote) == 8 * AT_ONCE
    assert all(r["seen"] > 0 for r in read)
    assert len({n for r in read for n in r["numbers"]}) > 1, "they read while others published"


@pytest.mark.long
def test_four_nights_and_four_readers_at_once(tmp_path):
    """If four nights start at once in one home, at least one publishes and some are refused because another is running.

    Meanwhile, three threads read the published tables and one asks for the status. None of them fails.
    """
    home = tmp_path / "home"
    pipeline = lender(home)
    later = [path.rename(tmp_path / path.name) for path in sorted((home / "landing/young_lender").iterdir())[8:]]
    assert command_says(home, "night")["exit"] == 0
    stop = threading.Event()

    def read() -> int:
        seen = 0
        while not stop.is_set():
            snapshot = verified(current_snapshot(home / "published"))
            for table in snapshot.folder.glob("*.parquet"):
                pl.read_parquet(table)
            seen += 1
            time.sleep(0.02)
        return seen

    def ask() -> int:
        asked = 0
        while not stop.is_set():
            assert command_says(home, "status")["snapshot_id"]
            asked += 1
        return asked

    with ThreadPoolExecutor(2 * AT_ONCE) as threads:
        readers = [threads.submit(read) for _ in range(AT_ONCE - 1)] + [threads.submit(ask)]
        try:
            for path in later:
                path.rename(home / "landing/young_lender" / path.name)
                said = [n.result() for n in [threads.submit(command_says, home, "night") for _ in range(AT_ONCE)]]
                ran = [s for s in said if s["exit"] == 0]
                refused = [s for s in said if s["exit"] != 0]
                assert [s for s in ran if s["changed"]], said
                assert refused
                assert all("another night is running" in s["failures"][0] for s in refused), refused
        finally:
            stop.set()
        assert all(r.result() > 0 for r in readers)
    assert verify(pipeline).faults == []


def command_says(home, *arguments):
    with command(home, *arguments, "--json") as run:
        said, complaint = run.communicate()
    assert said, complaint
    return json.loads(said.splitlines()[-1])
