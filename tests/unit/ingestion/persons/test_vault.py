"""Tests of the vault, which contains values that identify persons. The keys of the vault are in the key store."""

import io
import re
import sqlite3

import polars as pl
import pytest
from cryptography.exceptions import InvalidTag

from dagster_project.ingestion.lake.receipts import State
from dagster_project.ingestion.persons.originals import open_original
from dagster_project.ingestion.persons.scan import find_words
from dagster_project.ingestion.persons.vault import read_payer, read_person
from dagster_project.keys.master import unseal
from dagster_project.keys.store import KeyDestroyedError
from dagster_project.operations.data_subjects import UnknownPersonError, erase_person, reveal_person
from support.persons import CONTRACT, PEOPLE, agreement, csv_of, deliver, lender_in, pseudonym, raw, transfer


def test_the_vault_gives_back_what_was_delivered_and_the_lake_only_pseudonyms(lender):
    (receipt,) = deliver(lender, {"people-1.csv": csv_of("people", *PEOPLE)})
    name = pseudonym(lender, "C100003")
    (kept,) = read_person(lender.ingest_context, "lender", name)
    identifiers = {c: PEOPLE[3][c] for c in ("customer_no", "name", "street", "account_no")}
    assert (kept.delivery_id, kept.layout, kept.rows) == (receipt.delivery_id, "people", (identifiers,))
    assert name in raw(lender, "borrowers")["borrower_id"].to_list()
    words = [value for row in PEOPLE for value in (row["customer_no"], row["name"], row["street"], row["account_no"])]
    assert find_words([lender.settings.home], words) == []


def test_each_person_has_a_key_of_their_own(lender):
    """Each row of the vault can be decrypted with the key of its own person, and with no other key."""
    deliver(lender, {"people-1.csv": csv_of("people", *PEOPLE)})
    files = {pseudonym(lender, p["customer_no"]): "vault/lender/x.parquet" for p in PEOPLE}
    keys = lender.ingest_context.key_store.person_keys("lender", files)
    (file,) = (lender.ingest_context.lake / "vault/lender").glob("*.parquet")
    opened = 0
    for name, sealed in pl.read_parquet(file, columns=["pseudonym", "sealed"]).iter_rows():
        for other, key in keys.items():
            try:
                unseal(key, sealed, f"vault:lender:{name}")
                assert name == other
                opened += 1
            except InvalidTag:
                assert name != other
    assert opened == len(PEOPLE) == len(keys)


def test_a_number_alone_is_kept_once(lender):
    """A customer number in an agreement is stored in the vault only if the vault does not contain this customer yet.

    The agreement has no other identifying value of the customer.
    """
    deliver(lender, {"people-1.csv": csv_of("people", *PEOPLE[:2])})
    (receipt,) = deliver(lender, {"agreements-1.csv": csv_of("agreements", agreement(1), agreement(4))})
    assert [f.rows for f in receipt.files if f.table == "vault"] == [1]
    (kept,) = read_person(lender.ingest_context, "lender", pseudonym(lender, "C100004"))
    assert kept.rows == ({"customer_no": "C100004"},)


def test_a_number_alone_is_kept_although_a_crash_left_its_key(lender, monkeypatch):
    """A customer number is stored in the vault even if a crash left a key for the customer, but no receipt.

    A customer with a key counts as stored only if a receipt names the vault file for which the key was made. Once the
    number is stored, the next file does not store it again.
    """
    with monkeypatch.context() as patch:
        patch.setattr(type(lender.ingest_context.book), "commit", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            deliver(lender, {"agreements-1.csv": csv_of("agreements", agreement(1))})
    (lender.settings.landing / "lender/agreements-1.csv").unlink()  # and the file does not come again
    borrower = pseudonym(lender, "C100001")
    for n in (2, 3):
        deliver(lender, {f"agreements-{n}.csv": csv_of("agreements", agreement(1, loan_no=f"L{n}"))})
        kept = [kept.rows for kept in read_person(lender.ingest_context, "lender", borrower)]
        assert kept == [({"customer_no": "C100001"},)], n


def test_key_store_without_the_column_of_files_is_upgraded(lender):
    deliver(lender, {"people-1.csv": csv_of("people", *PEOPLE[:2])})
    with sqlite3.connect(lender.ingest_context.key_store.path) as db:
        db.execute("alter table persons drop column told_by")
    (receipt,) = deliver(lender, {"agreements-1.csv": csv_of("agreements", agreement(1), agreement(4))})
    assert [f.rows for f in receipt.files if f.table == "vault"] == [1], "who was there is in the vault"


def test_a_payer_is_a_person_too(lender):
    """A payer can be revealed and erased like a borrower.

    The vault contains no payers. The payer's number is only in the encrypted original.
    """
    payer = pseudonym(lender, "P77", "payer_id")
    (receipt,) = deliver(lender, {"transfers-1.csv": csv_of("transfers", transfer(1, payer_no="P77"), transfer(2))})
    assert {f.table for f in receipt.files} == {"payments"}
    assert raw(lender, "payments")["payer_id"].to_list() == [payer, None]
    (kept,) = read_payer(lender.ingest_context, lender.sources["lender"], [payer])
    assert (kept.delivery_id, kept.layout, kept.rows) == (receipt.delivery_id, "transfers", ({"payer_no": "P77"},))
    assert reveal_person(lender, payer, None, "asked by a court") == [kept]
    assert reveal_person(lender, "P77", None, "asked by a court") == [kept]
    assert erase_person(lender, payer, None).proof.left == ()
    assert read_payer(lender.ingest_context, lender.sources["lender"], [payer]) == []
    with pytest.raises(KeyDestroyedError):
        reveal_person(lender, payer, None, "asked by a court")


CHANGES = {
    "another pattern": (r"'transfers\*'", "'payins*'"),
    "another column": (r"transfer_no", "transfer_id"),
    "no payer in the table": (r"\n.*name: payer_id.*", ""),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_payer_is_found_under_a_contract_that_no_longer_reads_the_file(lender, change, kind):
    payer, other = pseudonym(lender, "P77", "payer_id"), pseudonym(lender, "P78", "payer_id")
    paid = csv_of("transfers", *(transfer(n, payer_no=number) for n, number in ((1, "P77"), (2, "P78"), (3, "P77"))))
    if kind == "parquet":
        packed = io.BytesIO()
        pl.read_csv(paid, infer_schema=False).write_parquet(packed)
        paid = packed.getvalue()
    deliver(lender, {f"transfers-1.{kind}": paid})
    contract = re.sub(*change, CONTRACT)
    assert contract != CONTRACT
    newer = lender_in(lender.settings.home, contract)
    source = newer.sources["lender"]
    (kept,) = reveal_person(newer, payer, None, "asked by a court")
    assert kept.rows == ({"payer_id": "P77"},)
    assert reveal_person(newer, "P77", None, "asked by a court") == [kept]
    with pytest.raises(UnknownPersonError):
        erase_person(newer, "P99", None)
    done = erase_person(newer, payer, None)
    assert (done.proof.left, done.destroyed, done.rewritten) == ((), 0, 1)
    assert read_payer(newer.ingest_context, source, [payer]) == []
    assert [kept.rows for kept in read_payer(newer.ingest_context, source, [other])] == [({"payer_id": "P78"},)]


def test_an_original_that_is_missing_hides_no_other(lender):
    payer = pseudonym(lender, "P77", "payer_id")
    for n in (1, 2):
        deliver(lender, {f"transfers-{n}.csv": csv_of("transfers", transfer(n, payer_no="P77"))})
    first = lender.ingest_context.book.all("lender")[0]
    (path,) = (lender.ingest_context.lake / "originals/lender").glob(f"{first.sha256}.*")
    path.unlink()
    (kept,) = read_payer(lender.ingest_context, lender.sources["lender"], [payer])
    assert kept.rows == ({"payer_no": "P77"},)


def test_a_file_that_names_nobody_makes_no_vault(lender):
    (receipt,) = deliver(lender, {"transfers-1.csv": csv_of("transfers", transfer(1))})
    assert {f.table for f in receipt.files} == {"payments"}


def test_a_crash_before_the_receipt_leaves_keys_that_the_next_start_uses(lender, monkeypatch):
    files = {"people-1.csv": csv_of("people", *PEOPLE)}
    with monkeypatch.context() as patch:
        patch.setattr(type(lender.ingest_context.book), "commit", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            deliver(lender, files)
    assert list((lender.ingest_context.lake / "vault/lender").iterdir()), "written, and it does not count"
    assert read_person(lender.ingest_context, "lender", pseudonym(lender, "C100000")) == []
    (receipt,) = deliver(lender, {})
    assert receipt.state is State.ACCEPTED
    assert len(read_person(lender.ingest_context, "lender", pseudonym(lender, "C100000"))) == 1
    assert open_original(lender.ingest_context, "lender", receipt.sha256) == files["people-1.csv"]
