"""Tests of incremental checks: each file is checked once, with the same result as a check of all files together."""

import datetime as dt

import pytest

from dagster_project.defs import checks
from dagster_project.defs.checks import evaluate
from dagster_project.ingestion.intake import ingest
from dagster_project.ingestion.lake.files import select
from dagster_project.ingestion.lake.row_index import KnownRows
from dagster_project.night import incremental_checks
from dagster_project.night.guards import guards_of
from support.homes import pipeline_in

expose = checks._expose
NOW = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
HEAD = "payment_no,loan_no,paid_on,amount,currency"


@pytest.fixture
def pipeline(tmp_path):
    return pipeline_in(tmp_path / "home")


def deliver(pipeline, day, *rows):
    landing = pipeline.settings.landing / "simulated"
    landing.mkdir(parents=True, exist_ok=True)
    layout = pipeline.sources["simulated"].contract.layout_of(f"payments-{day}.csv")
    rest = {"method": "transfer", "booked_on": day}
    payments = [dict(zip(HEAD.split(","), row.split(","), strict=True)) | rest for row in rows]
    lines = [",".join(row.get(column, "") for column in layout.schema) for row in payments]
    (landing / f"payments-{day}.csv").write_text("\n".join([",".join(layout.schema), *lines]) + "\n")
    (receipt,) = ingest(pipeline.sources["simulated"], pipeline.ingest_context, NOW)
    select(pipeline.settings.lake, pipeline.settings.selection, "simulated", pipeline.ingest_context.book.all())
    return receipt


def check(pipeline):
    guard = next(g for g in guards_of(pipeline) if g.suite.name == "raw_simulated_payments")
    result, read = evaluate(pipeline, guard)
    unique = next(c for c in result.checks if "unique" in c.name)
    return result, unique, read


def test_each_file_is_read_once_and_counts_add_up(pipeline):
    deliver(pipeline, "2024-01-01", "1,7,2024-01-01,5.00,EUR", "2,7,2024-01-01,5.00,EUR")
    first, _, read = check(pipeline)
    assert read == 1
    assert not first.blocking_failures
    assert check(pipeline)[2] == 0, "nothing is new"
    deliver(pipeline, "2024-01-02", "3,7,2024-01-02,5.00,EUR")
    second, unique, read = check(pipeline)
    assert read == 1
    assert unique.rows == 3
    assert [c.name for c in second.checks] == [c.name for c in first.checks]


def test_key_of_an_earlier_file_is_found_and_named(pipeline, monkeypatch):
    """A key that an earlier file already contains fails the check, even if the index used by ingestion missed it.

    The two rows with this key are named. A failed result is not stored, so the next run checks both files again.
    """
    monkeypatch.setattr(KnownRows, "may_contain", lambda *_: False)
    deliver(pipeline, "2024-01-01", "1,7,2024-01-01,5.00,EUR", "2,7,2024-01-01,5.00,EUR")
    check(pipeline)
    deliver(pipeline, "2024-01-02", "2,8,2024-01-02,6.00,EUR", "3,7,2024-01-02,5.00,EUR")
    for _ in range(2):  # what did not pass is not remembered
        result, unique, read = check(pipeline)
        assert (unique.passed, unique.failing_rows, read) == (False, 2, 2)
        assert len(unique.places) == 2
        assert unique in result.blocking_failures


def test_checking_new_files_in_batches_gives_the_result_of_one_check(pipeline, monkeypatch):
    for day in (1, 2, 3):
        deliver(pipeline, f"2024-01-0{day}", f"{day}1,7,2024-01-0{day},5.00,EUR", f"{day}2,7,2024-01-0{day},5.00,EUR")
    parts = []
    monkeypatch.setattr(incremental_checks, "_ROWS_AT_ONCE", 4)
    monkeypatch.setattr(checks, "_expose", lambda files, *more: parts.append(len(files)) or expose(files, *more))
    in_parts, unique, read = check(pipeline)
    assert (parts, unique.rows, read) == ([2, 1], 6, 3)
    monkeypatch.setattr(incremental_checks, "_ROWS_AT_ONCE", 100)
    for memory in (pipeline.settings.lake / "checked").rglob("*.json"):
        memory.unlink()
    assert check(pipeline)[0] == in_parts
    assert parts == [2, 1, 3]


def test_key_that_two_parts_have_once_each_is_found(pipeline, monkeypatch):
    monkeypatch.setattr(KnownRows, "may_contain", lambda *_: False)
    monkeypatch.setattr(incremental_checks, "_ROWS_AT_ONCE", 1)
    deliver(pipeline, "2024-01-01", "1,7,2024-01-01,5.00,EUR")
    deliver(pipeline, "2024-01-02", "1,8,2024-01-02,6.00,EUR")
    _, unique, _ = check(pipeline)
    assert (unique.passed, unique.failing_rows) == (False, 2)


def test_changed_file_or_suite_is_checked_again(pipeline):
    receipt = deliver(pipeline, "2024-01-01", "1,7,2024-01-01,5.00,EUR")
    check(pipeline)
    for memory in (pipeline.settings.lake / "checked").rglob("*.json"):
        memory.write_text(memory.read_text().replace(receipt.files[0].sha256, "0" * 64))
    assert check(pipeline)[2] == 1
