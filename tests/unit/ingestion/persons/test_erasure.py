"""Tests of the erasure of a person.

The data of an erased person cannot be recovered, not even from a backup of the data folder. No other data changes.
"""

import datetime as dt
import io
import shutil

import polars as pl
import pytest

from dagster_project.ingestion.lake.files import LakeCorruptionError
from dagster_project.ingestion.lake.receipts import State
from dagster_project.ingestion.persons import erasure
from dagster_project.ingestion.persons.erasure import ErasureError, erase, find_person
from dagster_project.ingestion.persons.originals import open_original, open_row, sealed_rows
from dagster_project.ingestion.persons.scan import find_words
from dagster_project.ingestion.persons.vault import read_person
from dagster_project.keys.store import Hold, KeyDestroyedError, KeyStore
from support.persons import DAY, NOW, agreement, csv_of, deliver, lender_in, person, raw, transfer

YEARS = 5
ANNA = person(7, name="Anna Zwetschke", street="Hinterm Deich 7", account_no="DE55777777777777")
WORDS = ["Anna Zwetschke", "Hinterm Deich 7", "DE55777777777777", "C100007"]


def everywhere(lender):
    """Deliver files that contain Anna's data in many different places, and return their receipts.

    She is in accepted, repeated, bad and ragged rows, in files that are refused as a whole, and in a Parquet file. She
    is also the payer of a transfer.
    """
    people = [person(n) for n in range(300)]
    people[7] = ANNA
    bad = person(401, name="Anna Zwetschke", customer_no="", reported_on=DAY)
    ragged = ",".join(ANNA.values()) + ",more\n"
    parquet = io.BytesIO()
    other = [person(500, sex="1"), ANNA | {"street": "Hinterm Deich 7, oben"}]
    pl.DataFrame(other).with_columns(pl.col("reported_on").str.to_date(), pl.col("sex").cast(pl.Int32)).write_parquet(
        parquet
    )
    quoted = csv_of("people", person(600), more='C100007,"Anna Zwetschke","Hinterm Deich 7\nlinks",DE1,1,2018-03-31\n')
    return deliver(
        lender,
        {
            "people-1.csv": csv_of("people", *people, bad, more=ragged),
            "people-2.csv": b"customer;name\nC100007;Anna Zwetschke\nC100008;Ilse Quandt-00008\n",
            "people-3.csv": "customer_no,name\nC100007,Anna Zwetschke \u00e4\n".encode("latin-1"),
            "people-4.parquet": parquet.getvalue(),
            "people-5.csv": quoted,
            "agreements-1.csv": csv_of("agreements", *(agreement(n) for n in range(10))),
            "transfers-1.csv": csv_of("transfers", transfer(1, payer_no="C100007"), transfer(2)),
            "months-1.csv": b"loan_no,month_end,open,paid_in,repaid\nL7,2018-03-31,100.00,10.00,10.00\n",
            "notes.txt": b"Anna Zwetschke called\n",
        },
    )


def erase_anna(lender, borrower="C100007", **more):
    source = lender.sources["lender"]
    found = find_person(lender.ingest_context, source, borrower)
    folders = [lender.settings.lake]
    return erase(lender.ingest_context, source, found, folders, NOW.replace(tzinfo=None), YEARS, **more)


def opened(lender):
    """Return everything that the current keys can decrypt, as a list of bytes.

    These are the vault rows, the originals and the quarantined rows. Originals in Parquet format are also returned as
    CSV, so that their values can be searched for. Originals that cannot be decrypted are left out.
    """
    context, store = lender.ingest_context, lender.ingest_context.key_store
    with store._open() as db:
        persons = [p for (p,) in db.execute("select pseudonym from persons where wrapped is not null")]
    found = []
    for pseudonym in persons:
        found += [repr(kept.rows).encode() for kept in read_person(context, "lender", pseudonym)]
    for sha256 in store.delivery_keys("lender"):
        try:
            found.append(open_original(context, "lender", sha256))
        except LakeCorruptionError:
            continue
        if found[-1].startswith(b"PAR1"):
            found.append(pl.read_parquet(found[-1]).write_csv().encode())
    for receipt in context.book.all("lender"):
        found += [text.encode() for text in sealed_rows(context, receipt)]
    return found


def hits(lender, words=WORDS):
    return [w for blob in opened(lender) for w in words if w.encode() in blob]


def test_nothing_of_an_erased_borrower_is_left(lender):
    everywhere(lender)
    before = {t: raw(lender, t) for t in ("borrowers", "borrower_attributes", "loans", "payments", "statements")}
    assert set(hits(lender)) == set(WORDS), "the search finds all of it before"
    done = erase_anna(lender)
    assert (done.held, done.proof.left) == (None, ())
    assert hits(lender) == []
    assert (done.rewritten, done.destroyed) == (7, 1), "the refused file in another encoding went whole"
    after = {t: raw(lender, t) for t in before}
    assert all(after[t].equals(before[t]) for t in before), "no row of the lake has changed"


def test_a_backup_of_the_data_folder_brings_nothing_back(lender, tmp_path):
    """A backup of the data folder from before an erasure does not make the erased data readable (promise S5).

    The keys are outside the data folder, and the erasure has destroyed those that decrypt the erased data. The data of
    all other persons can still be read, except in originals that also contained data of the erased person.
    """
    receipts = everywhere(lender)
    shutil.copytree(lender.settings.home, tmp_path / "backup")
    erase_anna(lender)
    shutil.rmtree(lender.settings.home)
    shutil.copytree(tmp_path / "backup", lender.settings.home)
    restored = lender_in(lender.settings.home)
    assert hits(restored) == []
    assert find_words([restored.settings.home], WORDS) == []
    # Everybody else is still there, but for originals that held her data.
    name = restored.ingest_context.keys.pseudonyms(pl.Series(["C100008"]), "lender.borrower_id")["pseudonym"].item()
    restored_rows = [row for kept in read_person(restored.ingest_context, "lender", name) for row in kept.rows]
    assert "Ilse Quandt-00008" in {row.get("name") for row in restored_rows}
    months = next(r for r in receipts if r.file_name == "months-1.csv")
    assert open_original(restored.ingest_context, "lender", months.sha256).startswith(b"loan_no")
    people = next(r for r in receipts if r.file_name == "people-1.csv")
    with pytest.raises(LakeCorruptionError, match="older than the last erasure"):
        open_original(restored.ingest_context, "lender", people.sha256)


def test_an_erasure_touches_no_other_person_and_no_line_number(lender):
    receipts = everywhere(lender)
    people = next(r for r in receipts if r.file_name == "people-1.csv")
    before = open_original(lender.ingest_context, "lender", people.sha256).decode().split("\n")
    erase_anna(lender)
    after = open_original(lender.ingest_context, "lender", people.sha256).decode().split("\n")
    assert len(after) == len(before)
    assert {n: text for n, (old, text) in enumerate(zip(before, after, strict=True)) if old != text} == {
        8: f",,,,{ANNA['sex']},{DAY}",
        301: "erased",
        302: "erased",
    }


def test_quarantined_rows_of_others_can_still_be_read(lender):
    """A quarantined row of another person can still be read after an erasure.

    The erasure destroyed the old key of the delivery. The row is therefore read from the rewritten original.
    """
    bad = person(401, reported_on="31.3.18")
    (receipt,) = deliver(lender, {"people-1.csv": csv_of("people", *(person(n) for n in range(300)), ANNA, bad)})
    deliver(lender, {})
    erase_anna(lender, "C100007")
    (file,) = (f for f in receipt.files if f.table == "quarantine")
    row = (
        pl.read_parquet(lender.ingest_context.lake / file.path)
        .filter(pl.col("rule") == "reported_on:date")
        .row(0, named=True)
    )
    place = (lender.ingest_context, "lender", receipt.sha256, row["line_no"], row["lines"])
    assert open_row(*place, row["sealed_row"]) == ",".join(bad.values())


def test_an_erased_borrower_stays_erased_whatever_arrives(lender):
    """Files that arrive after an erasure do not bring back values that identify the erased borrower.

    Rows of the borrower are accepted under the same pseudonym, but their identifying values are not stored again.
    """
    everywhere(lender)
    erase_anna(lender)
    rows = raw(lender, "loans").height
    content = csv_of("people", ANNA | {"street": "Am Ende 1"}, more="Anna Zwetschke,C100007\n")
    again = [person(n) for n in range(700, 1000)]
    receipts = deliver(
        lender,
        {
            "people-9.csv": csv_of("people", *again, ANNA | {"street": "Am Ende 1"}, more="Anna Zwetschke,C100007\n"),
            "people-8.csv": csv_of("people", *(person(n) for n in range(1000, 1300)), more=content.decode()),
            "agreements-2.csv": csv_of("agreements", agreement(7, loan_no="L7b")),
            "people-7.csv": b"customer,name\nC100007,Anna Zwetschke\n",
        },
    )
    assert {r.state for r in receipts} == {State.ACCEPTED, State.PARTIAL, State.QUARANTINED}
    assert raw(lender, "loans").height == rows + 1
    theirs = raw(lender, "loans").filter(pl.col("loan_id").str.starts_with("L7"))
    assert theirs["borrower_id"].n_unique() == 1
    assert hits(lender, [*WORDS, "Am Ende 1"]) == []


def test_the_same_file_again_does_not_bring_the_original_back(lender):
    content = csv_of("people", ANNA, person(8))
    deliver(lender, {"people-1.csv": content})
    erase_anna(lender)
    (receipt,) = deliver(lender, {"people-2.csv": content})
    assert receipt.state is State.DUPLICATE
    assert hits(lender) == []


@pytest.mark.parametrize("by", ["number", "pseudonym"])
def test_a_borrower_is_given_by_number_or_pseudonym(lender, by):
    everywhere(lender)
    name = lender.ingest_context.keys.pseudonyms(pl.Series(["C100007"]), "lender.borrower_id")["pseudonym"].item()
    done = erase_anna(lender, "C100007" if by == "number" else name)
    assert name in done.pseudonyms
    assert hits(lender) == []


def test_a_borrower_who_was_only_ever_held_back_can_be_erased(lender):
    deliver(lender, {"people-2.csv": b"customer;name\nC100007;Anna Zwetschke\n"})
    assert erase_anna(lender).proof.left == ()
    assert not [blob for blob in opened(lender) if b"C100007" in blob]


def test_a_stranger_is_not_found(lender):
    everywhere(lender)
    assert find_person(lender.ingest_context, lender.sources["lender"], "C999999") is None
    assert find_person(lender.ingest_context, lender.sources["lender"], "0" * 32) is None


@pytest.mark.parametrize("kind", ["retention", "set"])
def test_a_hold_wins_and_nothing_is_done(lender, kind):
    everywhere(lender)
    name = lender.ingest_context.keys.pseudonyms(pl.Series(["C100007"]), "lender.borrower_id")["pseudonym"].item()
    if kind == "set":
        lender.ingest_context.key_store.hold("lender", name, Hold(dt.date(2031, 1, 1), "suspicion report 17"))
    else:
        deliver(lender, {"months-2.csv": b"loan_no,month_end,open,paid_in,repaid\nL7,2021-06-30,90.00,10.00,10.00\n"})
    done = erase_anna(lender)
    assert done.held.until == (dt.date(2031, 1, 1) if kind == "set" else dt.date(2026, 6, 30))
    assert ("17" if kind == "set" else "5 years after the last event, 2021-06-30") in done.held.reason
    assert set(hits(lender)) == set(WORDS)
    later = erase(
        lender.ingest_context,
        lender.sources["lender"],
        find_person(lender.ingest_context, lender.sources["lender"], "C100007"),
        [],
        dt.datetime(2031, 1, 1),
        YEARS,
    )
    assert (later.held, later.proof.left) == (None, ())


def test_files_that_wait_are_taken_in_first(lender):
    everywhere(lender)
    (lender.ingest_context.landing / "lender/people-6.csv").write_bytes(csv_of("people", ANNA))
    with pytest.raises(ErasureError, match="wait in"):
        erase_anna(lender)


@pytest.mark.parametrize("moment", ["before the commit", "after it"])
def test_an_erasure_that_is_cut_off_can_be_repeated(lender, monkeypatch, moment):
    receipts = everywhere(lender)
    with monkeypatch.context() as patch:
        place, name = (KeyStore, "erase") if moment == "before the commit" else (erasure, "sweep_originals")
        patch.setattr(place, name, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            erase_anna(lender)
    if moment == "before the commit":
        assert set(hits(lender)) == set(WORDS), "nothing has happened"
    else:
        assert hits(lender) == []
    done = erase_anna(lender)
    assert done.proof.left == ()
    assert hits(lender) == []
    deliver(lender, {})
    files = {p.name.split(".")[0] for p in (lender.ingest_context.lake / "originals/lender").iterdir()}
    assert len(files) == len(list((lender.ingest_context.lake / "originals/lender").iterdir())) == len(receipts) - 1


def test_a_destroyed_key_is_not_left_in_the_bytes_of_the_store(lender):
    everywhere(lender)
    store = lender.ingest_context.key_store
    with store._open() as db:
        name = lender.ingest_context.keys.pseudonyms(pl.Series(["C100007"]), "lender.borrower_id")["pseudonym"].item()
        (wrapped,) = db.execute("select wrapped from persons where pseudonym = ?", (name,)).fetchone()
    assert wrapped in store.path.read_bytes()
    with store.kept_open():  # SQLite empties the journal itself only when nobody else has the file open
        erase_anna(lender)
        assert not any(wrapped in path.read_bytes() for path in store.path.parent.iterdir())
    with pytest.raises(KeyDestroyedError):
        store.person_key("lender", name)


def test_an_erasure_says_what_it_found_and_could_not_help(lender, tmp_path):
    """If somebody left an unencrypted copy in the data folder, the proof of the erasure fails and names that file."""
    everywhere(lender)
    (lender.settings.lake / "export.csv").write_text("Anna Zwetschke\n")
    done = erase_anna(lender)
    assert [path.rsplit("/", 1)[1] for path in done.proof.left] == ["export.csv"]


def test_a_joint_account_stays_the_other_persons(lender):
    deliver(lender, {"people-1.csv": csv_of("people", ANNA, person(8, account_no=ANNA["account_no"]))})
    done = erase_anna(lender)
    assert (done.proof.left, done.proof.shared) == ((), 1)
    assert set(hits(lender)) == {ANNA["account_no"]}
