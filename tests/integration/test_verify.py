"""Tests of `creditloom verify` on the home of a complete night.

It reports no fault in an unchanged home, and it names what was changed by hand in other homes.
"""

import datetime as dt
import json
import os
import sqlite3
import subprocess
import sys
from dataclasses import replace

import dagster as dg
import polars as pl
import pytest

from dagster_project.audit.chain import AuditError, Kind
from dagster_project.defs.resources import build_night_resource
from dagster_project.home.locks import home_lock
from dagster_project.night import audit_entries
from dagster_project.operations.verify import verify
from dagster_project.snapshots.snapshot import table_of, write_snapshot
from support.homes import pipeline_in


def says(home, *options):
    line = [sys.executable, "-m", "dagster_project.cli", "verify", *options]
    done = subprocess.run(line, env=os.environ | {"CREDITLOOM_HOME": str(home)}, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def test_whole_night_left_a_row_of_each_thing_and_nothing_is_wrong(first_night):
    pipeline = pipeline_in(first_night)
    rows = pipeline.ingest_context.audit.rows()
    assert [r.kind for r in rows] == [Kind.DELIVERY, Kind.PROMOTION, Kind.PUBLISH]
    assert not any(r.late for r in rows)
    assert rows[0].parsed_facts()["accepted_minor"] == 94_954_177_700
    assert rows[1].parsed_facts()["sha256"] == pipeline.ledger.champion("taiwan_cards").sha256
    code, said, _ = says(first_night, "--json")
    found = json.loads(said)
    assert (code, found["exit"], found["faults"], found["notes"]) == (0, 0, [], [])
    counts = {"receipts": 1, "originals": 1, "audit rows": 3, "snapshots": 1, "champions": 1}
    assert counts.items() <= found["checked"].items()


def in_receipts(statement):
    def change(home):
        with sqlite3.connect(home / "lake/receipts.sqlite") as db:
            db.execute("pragma ignore_check_constraints = on")
            db.execute(statement)

    return change


def in_ledger(home):
    with sqlite3.connect(home / "mlflow/promotions.sqlite") as db:
        db.execute("drop trigger promotions_keep")
        db.execute("update promotions set reason = 'because I say so'")


def other_snapshot(home):
    write_snapshot(home / "published", [table_of("scores", pl.DataFrame({"k": [1]}), ("k",))], {}, {})


def cut_log(home):
    with sqlite3.connect(home / "lake/audit.sqlite") as db:
        db.execute("drop trigger audit_keeps_rows")
        db.execute("delete from audit where row_no = 3")


def no_log(home):
    (home / "lake/audit.sqlite").unlink()


def no_original(home):
    next((home / "lake/originals/taiwan_cards").iterdir()).unlink()


def broken_ledger(home):
    (home / "mlflow/promotions.sqlite").write_bytes(b"no database" * 500)


_COUNTS = ", ".join(f"{o}_{u}" for o in ("landed", "accepted", "quarantined", "duplicate") for u in ("rows", "minor"))
_SAID = "source, delivery_id, contract_version, ingested_at"
INSERTED = (
    f"insert into receipts (receipt_no, {_SAID}, sha256, file_name, state, files, archived, {_COUNTS})"
    f" select 99, {_SAID}, 'ff', 'mine.csv', 'DUPLICATE', '[]', 1, 0, 0, 0, 0, 0, 0, 0, 0 from receipts limit 1"
)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (in_receipts("update receipts set file_name = 'other.csv'"), "receipt taiwan_cards/1 differs from row 1"),
        (in_receipts("update receipts set accepted_minor = accepted_minor - 1"), "94954177700 minor landed"),
        (in_receipts("delete from receipts"), "records receipt taiwan_cards/1, which is missing"),
        (in_receipts(INSERTED), "receipt taiwan_cards/99 has no row in the audit chain"),
        (in_ledger, "decision taiwan_cards/1 differs from row 2"),
        (other_snapshot, "the audit chain's newest publication is"),
        (cut_log, "the log ends with row 2, its head names row 3"),
        (no_log, "is missing, but its head exists"),
        (no_original, "its original is missing"),
        (broken_ledger, "a database cannot be read"),
    ],
    ids=["edited", "cents", "deleted", "inserted", "ledger", "snapshot", "cut", "no-log", "no-original", "broken"],
)
def test_what_was_done_by_hand_is_named(home_after_night, change, named):
    change(home_after_night)
    faults = verify(pipeline_in(home_after_night)).faults
    assert any(named in fault.what for fault in faults), faults
    assert all(fault.advice for fault in faults)


def test_words_on_the_terminal(home_after_night):
    code, said, _ = says(home_after_night)
    assert code == 0
    assert "No faults in 1 receipts" in said
    cut_log(home_after_night)
    code, said, complaint = says(home_after_night)
    assert code == 1
    assert "audit chain: the log ends with row 2" in complaint
    with home_lock(home_after_night):
        code, _, complaint = says(home_after_night)
    assert code == 1
    assert "another night is running" in " ".join(complaint.split())
    (home_after_night / "lake/receipts.sqlite").write_bytes(b"no database" * 500)
    code, _, complaint = says(home_after_night)
    assert code == 1
    assert "cannot be read (file is not a database): restore it from a backup" in " ".join(complaint.split())


def test_rows_that_a_crash_left_out_are_written_late_and_marked(home_after_night):
    pipeline = pipeline_in(home_after_night)
    pipeline.ingest_context.audit.path.unlink()
    pipeline.settings.audit_head_file.unlink()
    assert len(verify(pipeline).faults) == 3, "each thing is named that has no row"
    audit_entries.begin_run(pipeline, "run")
    rows = pipeline.ingest_context.audit.rows()
    assert [(r.kind, r.late) for r in rows] == [(k, True) for k in (Kind.DELIVERY, Kind.PROMOTION, Kind.PUBLISH)]
    found = verify(pipeline)
    assert found.faults == []
    assert "3 audit rows were written late" in found.notes[0]
    audit_entries.begin_run(pipeline, "run")
    assert pipeline.ingest_context.audit.rows() == rows, "and once"


def test_run_on_a_log_that_was_cut_does_not_begin(home_after_night):
    pipeline = pipeline_in(home_after_night)
    cut_log(home_after_night)
    night = build_night_resource(pipeline).resource_fn
    with pytest.raises(AuditError, match="does not match its head"):
        next(night(dg.build_init_resource_context(config={"intake": True})))


def test_replay_is_a_row(home_after_night):
    pipeline = replace(pipeline_in(home_after_night), on=dt.date(2026, 1, 2))
    audit_entries.begin_run(pipeline, "run-1")
    row = pipeline.ingest_context.audit.newest(Kind.REPLAY)
    assert (row.subject, row.parsed_facts()) == ("2026-01-02", {"run_id": "run-1"})
