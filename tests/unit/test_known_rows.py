"""A row that another delivery has brought before is a duplicate, a conflict or a new version, and never twice there."""

import datetime as dt
import gzip
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_project.ingestion.contracts.contract import ContractError
from dagster_project.ingestion.contracts.contract_adapter import refuse_corrections
from dagster_project.ingestion.contracts.source import load_sources
from dagster_project.ingestion.intake import ingest
from dagster_project.ingestion.lake.files import LakeCorruptionError
from dagster_project.ingestion.lake.key_index import KeyPlaces
from dagster_project.ingestion.lake.landing import unfinished, waiting
from dagster_project.ingestion.lake.receipts import ReceiptBook, State
from support.homes import pipeline_in

NOW = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
SIMULATED = load_sources()["simulated"]
CORRECTED = replace(
    SIMULATED,
    contract=replace(
        SIMULATED.contract,
        tables=tuple(replace(t, corrections=t.name == "payments") for t in SIMULATED.contract.tables),
    ),
)


@pytest.fixture
def context(tmp_path):
    return pipeline_in(tmp_path / "home").ingest_context


def drop(context, name, *rows):
    folder = context.landing / "simulated"
    folder.mkdir(parents=True, exist_ok=True)
    layout = SIMULATED.contract.layout_of(name)
    (folder / name).write_text("\n".join([",".join(layout.schema), *rows]) + "\n")


def payment(number, amount="5.00", day="2024-01-01", booked=None, currency="EUR", loan="7"):
    return f"{number},{loan},{day},{amount},{currency},transfer,,{booked or day}"


def loan(number, opened_on):
    return f"{number:08},c{number},car_loan,web,{opened_on},100.00,,12,0.05,9.00,EUR,open"


def take_in(context, source=SIMULATED):
    receipts = ingest(source, context, NOW)
    for r in receipts:
        assert r.landed_rows == r.accepted_rows + r.quarantined_rows + r.duplicate_rows
        assert r.landed_minor == r.accepted_minor + r.quarantined_minor + r.duplicate_minor
    return receipts


def rows(context, table):
    files = [f for r in context.book.all() for f in r.files if f.table == table]
    frame = pl.concat([pl.read_parquet(context.lake / f.path) for f in files])
    return frame.sort(frame.columns)


def accepted(context):
    return dict(rows(context, "payments").select("payment_id", pl.col("amount").cast(pl.Float64)).rows())


@pytest.mark.parametrize("together", [True, False])
def test_same_row_again_is_a_duplicate(context, together):
    """In the same intake as in a later one."""
    drop(context, "payments-2024-01-01.csv", payment(1), payment(2))
    first = [] if together else take_in(context)
    drop(context, "payments-2024-01-02.csv", payment(2), payment(3, day="2024-01-02"))
    drop(context, "payments-2024-01-03.csv", payment(3, day="2024-01-02"))
    receipts = first + take_in(context)
    assert [(r.accepted_rows, r.duplicate_rows) for r in receipts] == [(2, 0), (1, 1), (0, 1)]
    assert [r.state for r in receipts] == [State.ACCEPTED, State.ACCEPTED, State.DUPLICATE]
    assert accepted(context) == {"1": 5, "2": 5, "3": 5}
    assert sum(r.duplicate_minor for r in receipts) == 1000


def test_only_the_day_of_knowing_differs(context):
    """A platform that exports a row again dates the export anew; the row is known since it came first."""
    drop(context, "payments-2024-01-01.csv", payment(1))
    drop(context, "payments-2024-01-02.csv", payment(1, booked="2024-01-02"))
    assert [r.duplicate_rows for r in take_in(context)] == [0, 1]


def test_other_content_is_a_conflict_and_names_the_accepted_line(context):
    drop(context, "payments-2024-01-01.csv", payment(1), payment(2))
    drop(context, "payments-2024-01-02.csv", payment(2, "6.00"), payment(3))
    first, second = take_in(context)
    assert (second.state, second.accepted_rows, second.quarantined_rows) == (State.PARTIAL, 1, 1)
    held = rows(context, "quarantine").row(0, named=True)
    assert (held["rule"], held["line_no"]) == ("conflict", 2)
    assert (held["against_delivery_id"], held["against_line_no"]) == (first.delivery_id, 3)
    assert "6" not in held["message"]
    assert accepted(context) == {"1": 5, "2": 5, "3": 5}


def test_persons_who_come_back_are_no_conflict(context):
    drop(context, "borrowers-2024-01-01.csv", "c1,Ann,a1,2024-01-01,10.00,1,1")
    drop(context, "borrowers-2024-01-02.csv", "c1,Ann,a2,2024-01-02,11.00,1,1")
    assert [r.state for r in take_in(context)] == [State.ACCEPTED, State.ACCEPTED]


@pytest.mark.parametrize("order", ["in order", "later first"])
def test_corrections_make_the_newest_version_count(context, order):
    """By the day on which a version was known, in whatever order the files come."""
    files = {
        "payments-2024-01-01.csv": [payment(1), payment(2)],
        "payments-2024-01-05.csv": [payment(2, "6.00", booked="2024-01-05")],
        "payments-2024-01-09.csv": [payment(2, "7.00", booked="2024-01-09"), payment(9)],
    }
    for name, lines in files.items() if order == "in order" else reversed(files.items()):
        drop(context, name, *lines)
        (receipt,) = take_in(context, CORRECTED)
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
    drop(context, "payments-2024-01-12.csv", payment(2), payment(2, booked="2024-01-01", loan="7"))
    (receipt,) = take_in(context, CORRECTED)
    assert (receipt.state, receipt.duplicate_rows) == (State.DUPLICATE, 2)


def test_corrections_need_a_contract_without_adapter():
    with pytest.raises(ContractError, match="payments: corrections"):
        refuse_corrections("here", CORRECTED.contract)


def test_payment_before_opening_and_of_an_unknown_loan(context):
    drop(context, "loans-2024-01-01.csv", loan(1, "2024-01-01"), loan(2, "2024-03-01"))
    lines = [payment(n, loan=f"{n:08}", day="2024-02-01") for n in (1, 2, 3)]
    drop(context, "payments-2024-02-01.csv", *lines)
    _, receipt = take_in(context)
    assert (receipt.accepted_rows, receipt.quarantined_rows) == (2, 1)
    held = rows(context, "quarantine").row(0, named=True)
    assert (held["rule"], held["line_no"], held["minor"]) == ("before_opening", 3, 500)


def test_other_currency_than_the_contracts(context):
    """Also where no pattern of the file says so."""
    layouts = tuple(
        replace(t, columns=tuple(replace(c, pattern=None) if c.name == "currency" else c for c in t.columns))
        for t in SIMULATED.contract.layouts
    )
    drop(context, "payments-2024-02-01.csv", payment(1), payment(2, currency="USD"))
    source = replace(SIMULATED, contract=replace(SIMULATED.contract, layouts=layouts))
    (receipt,) = take_in(context, source)
    assert (receipt.accepted_rows, receipt.quarantined_rows) == (1, 1)
    assert rows(context, "quarantine")["rule"].to_list() == ["other_currency"]


def test_index_that_lags_behind_the_receipts_is_brought_up(context, monkeypatch):
    """A crash between the receipts and the index, and a folder that is gone."""
    drop(context, "payments-2024-01-01.csv", payment(1))
    monkeypatch.setattr(KeyPlaces, "save", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        take_in(context)
    monkeypatch.undo()
    drop(context, "payments-2024-01-02.csv", payment(1), payment(2))
    assert [r.duplicate_rows for r in take_in(context)] == [1]
    for path in (context.lake / "keys").rglob("*.npy"):
        path.unlink()
    drop(context, "payments-2024-01-03.csv", payment(1), payment(2), payment(3))
    assert [r.duplicate_rows for r in take_in(context)] == [2]


def test_uncommitted_keys_are_not_remembered(context, monkeypatch):
    drop(context, "payments-2024-01-01.csv", payment(1))
    monkeypatch.setattr(ReceiptBook, "commit", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        take_in(context)
    monkeypatch.undo()
    assert [r.state for r in take_in(context)] == [State.ACCEPTED]


def test_known_rows_are_read_only_from_sound_files(context):
    drop(context, "payments-2024-01-01.csv", payment(1))
    (receipt,) = take_in(context)
    path = context.lake / receipt.files[0].path
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    drop(context, "payments-2024-01-02.csv", payment(1, "6.00"))
    with pytest.raises(LakeCorruptionError):
        take_in(context)


@given(
    st.lists(st.lists(st.integers(0, 40), max_size=8), min_size=1, max_size=12),
    st.lists(st.integers(0, 40), max_size=6),
    st.integers(0, 12),
)
def test_places_name_every_file_that_has_a_key(tmp_path_factory, files, asked, saved_after):
    """Against a dictionary; in memory, and after it was read again from disk."""
    hashes = lambda keys: np.sort(np.array(keys, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    folder = tmp_path_factory.mktemp("places")
    places = KeyPlaces(folder, ["k"], set())
    for n, keys in enumerate(files):
        if n == saved_after:
            places.save()
            places = KeyPlaces(folder, ["k"], {str(m) for m in range(len(files))})
        expected = {key for earlier in files[:n] for key in earlier}
        assert places.knows_any(hashes(keys)) == bool(expected & set(keys))
        places.add([(str(n), hashes(keys))])
    assert places.places(hashes(asked)) == {str(n) for n, keys in enumerate(files) if set(keys) & set(asked)}


def test_more_files_than_an_entry_can_tell_apart_are_all_named(tmp_path):
    """An entry has room for the lower bits of its file's number: it names the others that have the same, too."""
    places, apart = KeyPlaces(tmp_path, ["k"], set()), 1 << 12
    key = lambda n: np.array([(n + 1) << 40], dtype=np.uint64)
    places.add((str(n), key(n)) for n in range(apart + 3))
    assert places.places(key(apart + 1)) == {"1", str(apart + 1)}
    assert places.places(key(5)) == {"5"}
    assert not places.knows_any(key(apart + 3))


def test_packed_and_renamed_it_is_the_same_delivery(context):
    drop(context, "payments-2024-01-01.csv", payment(1), payment(2))
    folder = context.landing / "simulated"
    content = (folder / "payments-2024-01-01.csv").read_bytes()
    (folder / "payments-2024-01-02.csv.gz").write_bytes(gzip.compress(content))
    (folder / "payments-2024-01-03.csv.gz").write_bytes(gzip.compress(content, 1))
    with zipfile.ZipFile(folder / "payments-2024-01-04.csv.zip", "w") as archive:
        archive.writestr("inside.csv", content)
    receipts = take_in(context)
    assert [r.state for r in receipts] == [State.ACCEPTED, *[State.DUPLICATE] * 3]
    assert {r.sha256 for r in receipts} == {receipts[0].sha256}
    assert accepted(context) == {"1": 5, "2": 5}
    day = SIMULATED.contract.arrives_on("payments-2024-01-02.csv.gz")
    assert day == dt.date(2024, 1, 2), "the landing day is the unpacked name's"


def test_file_waits_for_the_manifest_that_its_contract_asks_for(context):
    layouts = tuple(replace(t, manifest=t.name == "payments_file") for t in SIMULATED.contract.layouts)
    source = replace(SIMULATED, contract=replace(SIMULATED.contract, layouts=layouts))
    drop(context, "payments-2024-01-01.csv", payment(1))
    path = context.landing / "simulated/payments-2024-01-01.csv"
    assert take_in(context, source) == []
    assert unfinished(source, context) == [path] and waiting(source, context) == []
    path.with_name(path.name + ".done").write_text('{"rows": 1, "control_total": 5}')
    (receipt,) = take_in(context, source)
    assert receipt.state is State.ACCEPTED
    assert not list((context.landing / "simulated").iterdir())


def _killed_at_manifests(path: Path, _unlink=Path.unlink, **more) -> None:
    if path.suffix == ".done":
        raise KeyboardInterrupt
    _unlink(path, **more)


def test_crash_between_file_and_manifest_leaves_no_manifest_for_the_next(context, monkeypatch):
    drop(context, "payments-2024-01-01.csv", payment(1))
    manifest = context.landing / "simulated/payments-2024-01-01.csv.done"
    manifest.write_text('{"rows": 1}')
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", _killed_at_manifests)
        with pytest.raises(KeyboardInterrupt):
            take_in(context)
    assert manifest.exists()
    assert take_in(context) == []
    assert not manifest.exists()


def test_going_back_to_an_older_content_is_a_new_version(context):
    """A row is compared with its newest version, and not with one that it has left behind."""
    for day, amount in (("2024-01-01", "5.00"), ("2024-01-05", "6.00"), ("2024-01-09", "5.00")):
        drop(context, f"payments-{day}.csv", payment(1, amount, booked=day))
        (receipt,) = take_in(context, CORRECTED)
        assert (receipt.state, receipt.accepted_rows) == (State.ACCEPTED, 1)
    drop(context, "payments-2024-01-12.csv", payment(1, "6.00", booked="2024-01-12"))
    (receipt,) = take_in(context, CORRECTED)
    assert receipt.accepted_rows == 1
    assert rows(context, "superseded").height == 6, "each of four versions with those before it"
