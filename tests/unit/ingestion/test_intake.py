"""Tests of ingesting all waiting files: crashes at different steps, clocks that are set back, and errors in a batch."""

import datetime as dt
from pathlib import Path

import pytest

from dagster_project.ingestion import intake
from dagster_project.ingestion.intake import ingest
from dagster_project.ingestion.lake.receipts import ReceiptBook, State
from support.cards import CARDS, NOW, take_in
from support.persons import csv_of, deliver, transfer
from support.simulated_files import drop_file, ingest_waiting, payment


def test_clock_that_was_set_back_does_not_run_backwards(pipeline, drop, cards):
    card_file, line = cards
    first = take_in(pipeline, drop, "a.csv", card_file(line(1)))
    drop(pipeline, "b.csv", card_file(line(1)))
    (second,) = ingest(CARDS, pipeline.ingest_context, NOW - dt.timedelta(days=1))
    assert second.ingested_at == first.ingested_at


def test_crash_after_the_receipt_is_not_a_duplicate(pipeline, drop, cards, monkeypatch):
    card_file, line = cards
    drop(pipeline, "a.csv", card_file(line(1)))
    with monkeypatch.context() as patch:
        patch.setattr(intake, "_archive", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            ingest(CARDS, pipeline.ingest_context, NOW)
    assert ingest(CARDS, pipeline.ingest_context, NOW) == []
    assert [r.state for r in pipeline.ingest_context.book.all()] == [State.ACCEPTED]
    assert not list(pipeline.ingest_context.landing.rglob("*.csv"))


def test_crash_after_a_duplicates_receipt_counts_it_once(pipeline, drop, cards, monkeypatch):
    card_file, line = cards
    take_in(pipeline, drop, "a.csv", card_file(line(1)))
    drop(pipeline, "b.csv", card_file(line(1)))
    with monkeypatch.context() as patch:
        patch.setattr(intake, "_archive", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            ingest(CARDS, pipeline.ingest_context, NOW)
    drop(pipeline, "a2.csv", card_file(line(1)))
    assert [r.file_name for r in ingest(CARDS, pipeline.ingest_context, NOW)] == ["a2.csv"]
    assert [r.state for r in pipeline.ingest_context.book.all()] == [State.ACCEPTED, State.DUPLICATE, State.DUPLICATE]


def test_crash_while_originals_move_hides_no_later_duplicate(pipeline, drop, cards, monkeypatch):
    """A file that is delivered again after a crash during archiving is a duplicate.

    The crash happens after the file was removed from the landing folder and before it was marked as archived. The
    second file must not be mistaken for a file that the crash left behind.
    """
    card_file, line = cards
    drop(pipeline, "a.csv", card_file(line(1)))
    with monkeypatch.context() as patch:
        patch.setattr(ReceiptBook, "mark_archived", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            ingest(CARDS, pipeline.ingest_context, NOW)
    assert not list(pipeline.ingest_context.landing.rglob("*.csv"))
    ingest(CARDS, pipeline.ingest_context, NOW)
    drop(pipeline, "a.csv", card_file(line(1)))
    assert [r.state for r in ingest(CARDS, pipeline.ingest_context, NOW)] == [State.DUPLICATE]


def test_crash_before_the_receipt_leaves_nothing_that_counts(pipeline, drop, cards, monkeypatch):
    card_file, line = cards
    drop(pipeline, "a.csv", card_file(line(1)))
    with monkeypatch.context() as patch:
        patch.setattr(type(pipeline.ingest_context.book), "commit", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            ingest(CARDS, pipeline.ingest_context, NOW)
    assert pipeline.ingest_context.book.all() == []
    (receipt,) = ingest(CARDS, pipeline.ingest_context, NOW)
    assert (receipt.state, receipt.accepted_rows) == (State.ACCEPTED, 1)


def _killed_at_manifests(path: Path, _unlink=Path.unlink, **more) -> None:
    if path.suffix == ".done":
        raise KeyboardInterrupt
    _unlink(path, **more)


def test_crash_between_file_and_manifest_leaves_no_manifest_for_the_next(context, monkeypatch):
    drop_file(context, "payments-2024-01-01.csv", payment(1))
    manifest = context.landing / "simulated/payments-2024-01-01.csv.done"
    manifest.write_text('{"rows": 1}')
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", _killed_at_manifests)
        with pytest.raises(KeyboardInterrupt):
            ingest_waiting(context)
    assert manifest.exists()
    assert ingest_waiting(context) == []
    assert not manifest.exists()


def test_error_of_a_commit_is_raised_before_the_error_of_a_reader(lender, monkeypatch):
    """If a commit and the reading of a later file both fail, the error of the commit is raised.

    Files are read while a batch is being committed. After a batch has failed, no other batch is committed.
    """
    monkeypatch.setattr(intake, "_BATCH", 2)
    monkeypatch.setattr(intake, "MAX_FILES", 1)
    tried, read = [], intake.take_in_group

    def commit(receipts, _border):
        tried.append([r.file_name for r in receipts])
        raise RuntimeError("no room for the receipts")

    def take_in_group(files, *args):
        if files[0].name == "transfers-4.csv":
            raise ValueError("cannot be read")
        return read(files, *args)

    monkeypatch.setattr(intake, "commit", commit)
    monkeypatch.setattr(intake, "take_in_group", take_in_group)
    with pytest.raises(RuntimeError, match="no room"):
        deliver(lender, {f"transfers-{n}.csv": csv_of("transfers", transfer(n, payer_no=f"P{n}")) for n in range(9)})
    assert tried == [["transfers-0.csv", "transfers-1.csv"]]
