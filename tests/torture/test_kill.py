"""Tests that a kill at any line of the code that ingests or publishes loses no row and no cent.

Readers must see either the old or the new state. This is promise R1 of `docs/promises.md`. A failure states its seed,
and `SEED=7 pytest ...` runs the tests with the seed 7. The long suite (`make torture`) kills ten times as often.
"""

import random

import polars as pl
import pytest

from dagster_project.audit.chain import AuditLog, Entry, Kind
from dagster_project.ingestion.persons.vault import read_person
from dagster_project.operations.verify import verify
from dagster_project.snapshots.snapshot import current_snapshot, snapshot_faults
from support.lake import SEED, assert_lake_is, drop, empty_home, lake_of
from support.oracles.kill import Reference, book_of_loans, copy_of, month_file
from support.young_lender import pipeline_of

KILLS = [pytest.param(20, id="20"), pytest.param(200, id="200", marks=pytest.mark.long)]


def lines_of(victims, what, home, **more):
    """Run a job without interruption and return how many lines of the watched modules it executed.

    Fails if the job ends with an error.
    """
    result = victims.run(what, home, count=True, **more)
    assert result["error"] is None, result
    return result["lines"]


@pytest.mark.parametrize("kills", KILLS)
def test_taking_in_loses_nothing_whenever_it_is_killed(victims, tmp_path, kills):
    draw = random.Random(f"{SEED}:ingest")
    measured = empty_home(tmp_path / "measured")
    for delivery in (book_of_loans(), month_file(0, draw)):
        drop(measured, delivery)
    lines = lines_of(victims, "take_in", measured)

    home, expected, month, newest = empty_home(tmp_path / "home"), Reference(), 1, month_file(0, draw)
    pipeline, killed, hit = pipeline_of(home), 0, []
    for delivery in (book_of_loans(), newest):
        drop(home, delivery)
        expected.add(delivery.becomes)
    while killed < kills:
        for _ in range(draw.randrange(3)):
            if draw.random() < 0.25:
                delivery = copy_of(newest, f"2024-{draw.choice('abc')}{month}-again.csv")
                month += 1
            else:
                delivery = newest = month_file(month, draw)  # a month never comes again: it would be a conflict
                month += 1
            drop(home, delivery)
            expected.add(delivery.becomes)
        at = draw.randrange(1, lines)
        hit.append(at)
        result = victims.run("take_in", home, kill_at=at)
        assert result["killed"] or result["error"] is None, (SEED, hit, result)
        killed += result["killed"]
        found = lake_of(pipeline, tmp_path / "selection")  # nothing that counts is half there
        assert not found.statements - expected.statements, (SEED, hit)
        for unit in (found.rows, found.cents):
            assert unit["landed"] == unit["accepted"] + unit["quarantined"] + unit["duplicate"], (SEED, hit)
    assert victims.run("take_in", home)["error"] is None, (SEED, hit)
    assert_lake_is(pipeline, tmp_path / "selection", expected, (SEED, hit))
    assert list((home / "landing/young_lender").glob("[!.]*")) == []
    assert verify(pipeline).faults == [], (SEED, hit)
    borrowers = pl.read_parquet(home / "lake/raw/young_lender/borrowers/*.parquet")["borrower_id"].unique().sort()
    for name in borrowers.head(20):
        assert read_person(pipeline.ingest_context, "young_lender", name), (SEED, hit)
    audited = [row.subject for row in pipeline.ingest_context.audit.rows(Kind.DELIVERY)]
    assert len(audited) == len(set(audited)) == len(pipeline.ingest_context.book.all()), (SEED, hit)


@pytest.mark.parametrize("step", [pytest.param(3, id="3"), pytest.param(1, id="1", marks=pytest.mark.long)])
@pytest.mark.parametrize("rows_before", [0, 1])
def test_audit_log_survives_a_kill_at_any_line(victims, tmp_path, rows_before, step):
    """If a process is killed while it appends to the audit log, the log has no fault and can be appended to.

    The process is killed at one line after another: at every third line in the short suite, and at every line in the
    long suite. The log must not report the crash as tampering.
    """

    def begun(name):
        log = AuditLog(tmp_path / name / "lake/audit.sqlite", tmp_path / name / "audit.head", b"k" * 32)
        log.append([Entry(Kind.PUBLISH, "before", {})] * rows_before)
        return log

    begun("measured")
    for at in range(1 + SEED % step, lines_of(victims, "append_one", tmp_path / "measured") + 1, step):
        log = begun(str(at))
        assert victims.run("append_one", tmp_path / str(at), kill_at=at)["killed"]
        assert log.faults() == [], at
        log.append([Entry(Kind.PUBLISH, "after", {})])
        assert log.faults() == [], at
        assert len(log.rows()) in (rows_before + 1, rows_before + 2), at


@pytest.mark.parametrize("kills", KILLS)
def test_readers_see_the_old_or_the_new_whenever_publishing_is_killed(victims, tmp_path, kills):
    draw = random.Random(f"{SEED}:publish")
    lines = lines_of(victims, "publish_one", tmp_path / "measured", number=0)
    home, killed, hit, before = tmp_path / "home", 0, [], None
    while killed < kills:
        number, at = draw.randrange(5), draw.randrange(1, lines)  # what was published once may come again
        hit.append((number, at))
        result = victims.run("publish_one", home, number=number, kill_at=at)
        assert result["killed"] or result["error"] is None, (SEED, hit, result)
        killed += result["killed"]
        snapshot = current_snapshot(home / "published")
        shown = snapshot.metrics()["a.number"] if snapshot else None
        assert shown in (before, number), (SEED, hit)
        assert snapshot is None or snapshot_faults(snapshot.folder) == [], (SEED, hit)
        if draw.random() < 0.5:
            result = victims.run("publish_one", home, number=number)
            assert result["error"] is None, (SEED, hit)
            shown = current_snapshot(home / "published").metrics()["a.number"]
            assert shown == number, (SEED, hit)
        before = shown
