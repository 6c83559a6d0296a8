"""Tests of rows that an earlier delivery already contained: they are duplicates, conflicts or new versions."""

import polars as pl
import pytest

from dagster_project.ingestion.lake.files import LakeCorruptionError
from dagster_project.ingestion.lake.key_index import KeyPlaces
from dagster_project.ingestion.lake.receipts import ReceiptBook, State
from support.simulated_files import CORRECTED, accepted, drop_file, ingest_waiting, payment, rows


@pytest.mark.parametrize("together", [True, False])
def test_same_row_again_is_a_duplicate(context, together):
    """A row that an earlier file already contained is a duplicate.

    This holds whether both files are ingested together or the second file is ingested later.
    """
    drop_file(context, "payments-2024-01-01.csv", payment(1), payment(2))
    first = [] if together else ingest_waiting(context)
    drop_file(context, "payments-2024-01-02.csv", payment(2), payment(3, day="2024-01-02"))
    drop_file(context, "payments-2024-01-03.csv", payment(3, day="2024-01-02"))
    receipts = first + ingest_waiting(context)
    assert [(r.accepted_rows, r.duplicate_rows) for r in receipts] == [(2, 0), (1, 1), (0, 1)]
    assert [r.state for r in receipts] == [State.ACCEPTED, State.ACCEPTED, State.DUPLICATE]
    assert accepted(context) == {"1": 5, "2": 5, "3": 5}
    assert sum(r.duplicate_minor for r in receipts) == 1000


def test_only_the_day_of_knowing_differs(context):
    """A payment that comes again with a later booking date, but is otherwise the same, is a duplicate.

    Some platforms export a row again with the date of the new export. The row counts as known since its first delivery.
    """
    drop_file(context, "payments-2024-01-01.csv", payment(1))
    drop_file(context, "payments-2024-01-02.csv", payment(1, booked="2024-01-02"))
    assert [r.duplicate_rows for r in ingest_waiting(context)] == [0, 1]


def test_other_content_is_a_conflict_and_names_the_accepted_line(context):
    drop_file(context, "payments-2024-01-01.csv", payment(1), payment(2))
    drop_file(context, "payments-2024-01-02.csv", payment(2, "6.00"), payment(3))
    first, second = ingest_waiting(context)
    assert (second.state, second.accepted_rows, second.quarantined_rows) == (State.PARTIAL, 1, 1)
    held = rows(context, "quarantine").row(0, named=True)
    assert (held["rule"], held["line_no"]) == ("conflict", 2)
    assert (held["against_delivery_id"], held["against_line_no"]) == (first.delivery_id, 3)
    assert "6" not in held["message"]
    assert accepted(context) == {"1": 5, "2": 5, "3": 5}


def test_persons_who_come_back_are_no_conflict(context):
    drop_file(context, "borrowers-2024-01-01.csv", "c1,Ann,a1,2024-01-01,10.00,1,1")
    drop_file(context, "borrowers-2024-01-02.csv", "c1,Ann,a2,2024-01-02,11.00,1,1")
    assert [r.state for r in ingest_waiting(context)] == [State.ACCEPTED, State.ACCEPTED]


@pytest.mark.parametrize("order", ["in order", "later first"])
def test_corrections_make_the_newest_version_count(context, order):
    """The newest version of a corrected payment counts, whatever the order in which the files arrive.

    The newest version is the one that became known last. The lake keeps all versions. A version that has been replaced
    is a duplicate if it arrives again.
    """
    files = {
        "payments-2024-01-01.csv": [payment(1), payment(2)],
        "payments-2024-01-05.csv": [payment(2, "6.00", booked="2024-01-05")],
        "payments-2024-01-09.csv": [payment(2, "7.00", booked="2024-01-09"), payment(9)],
    }
    for name, lines in files.items() if order == "in order" else reversed(files.items()):
        drop_file(context, name, *lines)
        (receipt,) = ingest_waiting(context, CORRECTED)
        assert receipt.state is State.ACCEPTED
    newest = rows(context, "payments").join(
        rows(context, "superseded"),
        left_on=["delivery_id", "line_no"],
        right_on=["old_delivery_id", "old_line_no"],
        how="anti",
    )
    assert dict(newest.select("payment_id", pl.col("amount").cast(pl.Float64)).rows()) == {"1": 5, "2": 7, "9": 5}
    assert rows(context, "payments").height == 5, "no version is lost"
    # Each version points to every later one; until when it counted is the first of their days.
    older = rows(context, "superseded").join(
        rows(context, "payments"), left_on=["old_delivery_id", "old_line_no"], right_on=["delivery_id", "line_no"]
    )
    counted = older.group_by("amount").agg(pl.col("known_at").min().dt.day()).sort("amount")
    assert older.height == 3
    assert counted.with_columns(pl.col("amount").cast(pl.Float64)).rows() == [(5, 5), (6, 9)]
    # What was superseded and comes again is the version that it was.
    drop_file(context, "payments-2024-01-12.csv", payment(2), payment(2, booked="2024-01-01", loan="7"))
    (receipt,) = ingest_waiting(context, CORRECTED)
    assert (receipt.state, receipt.duplicate_rows) == (State.DUPLICATE, 2)


def test_index_that_lags_behind_the_receipts_is_brought_up(context, monkeypatch):
    """Duplicates are still found if the key index is older than the receipts, or if its files are missing.

    In the first case, a crash happened after the commit of the receipts and before the index was saved.
    """
    drop_file(context, "payments-2024-01-01.csv", payment(1))
    monkeypatch.setattr(KeyPlaces, "save", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        ingest_waiting(context)
    monkeypatch.undo()
    drop_file(context, "payments-2024-01-02.csv", payment(1), payment(2))
    assert [r.duplicate_rows for r in ingest_waiting(context)] == [1]
    for path in (context.lake / "keys").rglob("*.npy"):
        path.unlink()
    drop_file(context, "payments-2024-01-03.csv", payment(1), payment(2), payment(3))
    assert [r.duplicate_rows for r in ingest_waiting(context)] == [2]


def test_uncommitted_keys_are_not_remembered(context, monkeypatch):
    drop_file(context, "payments-2024-01-01.csv", payment(1))
    monkeypatch.setattr(ReceiptBook, "commit", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        ingest_waiting(context)
    monkeypatch.undo()
    assert [r.state for r in ingest_waiting(context)] == [State.ACCEPTED]


def test_rows_to_compare_with_are_read_only_from_intact_files(context):
    drop_file(context, "payments-2024-01-01.csv", payment(1))
    (receipt,) = ingest_waiting(context)
    path = context.lake / receipt.files[0].path
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    drop_file(context, "payments-2024-01-02.csv", payment(1, "6.00"))
    with pytest.raises(LakeCorruptionError):
        ingest_waiting(context)


def test_going_back_to_an_older_content_is_a_new_version(context):
    """A correction back to an earlier amount is a new version.

    A row is compared only with its newest version, not with older ones.
    """
    for day, amount in (("2024-01-01", "5.00"), ("2024-01-05", "6.00"), ("2024-01-09", "5.00")):
        drop_file(context, f"payments-{day}.csv", payment(1, amount, booked=day))
        (receipt,) = ingest_waiting(context, CORRECTED)
        assert (receipt.state, receipt.accepted_rows) == (State.ACCEPTED, 1)
    drop_file(context, "payments-2024-01-12.csv", payment(1, "6.00", booked="2024-01-12"))
    (receipt,) = ingest_waiting(context, CORRECTED)
    assert receipt.accepted_rows == 1
    assert rows(context, "superseded").height == 6, "each of four versions with those before it"
