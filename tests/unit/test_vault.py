"""What identifies a person stays outside of the border, in a vault whose keys are elsewhere."""

import io
import json
import os
import re
import shutil
import sqlite3
from dataclasses import replace

import polars as pl
import pytest
from cryptography.exceptions import InvalidTag

from dagster_project.home.settings import Settings
from dagster_project.ingestion import intake
from dagster_project.ingestion.contracts.contract import ContractError
from dagster_project.ingestion.lake.files import LakeCorruptionError
from dagster_project.ingestion.lake.receipts import State
from dagster_project.ingestion.persons import originals
from dagster_project.ingestion.persons.originals import open_original, read_sealed, write_sealed
from dagster_project.ingestion.persons.scan import find_words
from dagster_project.ingestion.persons.vault import read_payer, read_person
from dagster_project.keys.master import MasterKeyError, load_keys, unseal
from dagster_project.keys.store import KeyDestroyedError, KeyMissingError, KeyStore
from dagster_project.operations.data_subjects import UnknownPersonError, erase_person, reveal_person
from support.persons import CONTRACT, agreement, csv_of, deliver, lender_in, person, raw, transfer

PEOPLE = [person(n) for n in range(5)]


@pytest.fixture
def lender(tmp_path):
    return lender_in(tmp_path / "home")


def pseudonym(lender, number, column="borrower_id"):
    return lender.ingest_context.keys.pseudonyms(pl.Series([number]), f"lender.{column}")["pseudonym"].item()


def test_the_vault_gives_back_what_was_delivered_and_the_lake_only_pseudonyms(lender):
    (receipt,) = deliver(lender, {"people-1.csv": csv_of("people", *PEOPLE)})
    name = pseudonym(lender, "C100003")
    (kept,) = read_person(lender.ingest_context, "lender", name)
    told = {c: PEOPLE[3][c] for c in ("customer_no", "name", "street", "account_no")}
    assert (kept.delivery_id, kept.layout, kept.rows) == (receipt.delivery_id, "people", (told,))
    assert name in raw(lender, "borrowers")["borrower_id"].to_list()
    words = [value for row in PEOPLE for value in (row["customer_no"], row["name"], row["street"], row["account_no"])]
    assert find_words([lender.settings.home], words) == []


def test_each_person_has_a_key_of_their_own(lender):
    """A row of the vault opens with its own person's key, and with no other."""
    deliver(lender, {"people-1.csv": csv_of("people", *PEOPLE)})
    told_by = {pseudonym(lender, p["customer_no"]): "vault/lender/x.parquet" for p in PEOPLE}
    keys = lender.ingest_context.key_store.person_keys("lender", told_by)
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
    """An agreement names its customer: it is kept where nothing else told of them, and not again where it did."""
    deliver(lender, {"people-1.csv": csv_of("people", *PEOPLE[:2])})
    (receipt,) = deliver(lender, {"agreements-1.csv": csv_of("agreements", agreement(1), agreement(4))})
    assert [f.rows for f in receipt.files if f.table == "vault"] == [1]
    (kept,) = read_person(lender.ingest_context, "lender", pseudonym(lender, "C100004"))
    assert kept.rows == ({"customer_no": "C100004"},)


def test_a_number_alone_is_kept_although_a_crash_left_its_key(lender, monkeypatch):
    """Who has a key is in the vault only if a receipt names the file that the key was made for."""
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


def test_a_key_store_from_before_it_was_noted_who_told_of_persons(lender):
    deliver(lender, {"people-1.csv": csv_of("people", *PEOPLE[:2])})
    with sqlite3.connect(lender.ingest_context.key_store.path) as db:
        db.execute("alter table persons drop column told_by")
    (receipt,) = deliver(lender, {"agreements-1.csv": csv_of("agreements", agreement(1), agreement(4))})
    assert [f.rows for f in receipt.files if f.table == "vault"] == [1], "who was there is in the vault"


def test_a_payer_is_a_person_too(lender):
    """Not in the vault: what is behind the pseudonym stands in the encrypted original, and nowhere else."""
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


def test_what_went_wrong_with_a_commit_is_told_before_what_went_wrong_with_a_reader(lender, monkeypatch):
    """A batch is committed while others are read; nothing is committed after one that failed."""
    monkeypatch.setattr("dagster_project.ingestion.intake._BATCH", 2)
    tried, read = [], intake.take_in

    def commit(receipts, _border):
        tried.append([r.file_name for r in receipts])
        raise RuntimeError("no room for the receipts")

    def take_in(file, *args, **more):
        if file.name == "transfers-4.csv":
            raise ValueError("cannot be read")
        return read(file, *args, **more)

    monkeypatch.setattr(intake, "commit", commit)
    monkeypatch.setattr(intake, "take_in", take_in)
    with pytest.raises(RuntimeError, match="no room"):
        deliver(lender, {f"transfers-{n}.csv": csv_of("transfers", transfer(n, payer_no=f"P{n}")) for n in range(9)})
    assert tried == [["transfers-0.csv", "transfers-1.csv"]]


def test_originals_and_keys_are_on_the_disk_before_the_receipt(lender, monkeypatch):
    """A receipt whose original or key is lost with the power would be a loss that nobody notices."""
    order = []
    monkeypatch.setattr(originals, "flush", lambda path: order.append("folder" if path.is_dir() else "original"))
    monkeypatch.setattr(KeyStore, "flush", lambda *_: order.append("keys"))
    commit = type(lender.ingest_context.book).commit
    monkeypatch.setattr(type(lender.ingest_context.book), "commit", lambda *a: (order.append("receipt"), commit(*a))[1])
    deliver(lender, {"people-1.csv": csv_of("people", *PEOPLE)})
    assert order == ["original", "folder", "keys", "receipt"]


# Originals.


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_an_original_opens_to_the_bytes_that_were_sealed(tmp_path, size):
    content = os.urandom(size)
    write_sealed(content, tmp_path / "o", b"k" * 32, "lender:1")
    assert read_sealed(tmp_path / "o", b"k" * 32, "lender:1") == content
    assert size < 16 or content[:16] not in (tmp_path / "o").read_bytes()


def _swap(sealed: bytes) -> bytes:
    chunk = (1 << 20) + 16
    return sealed[:11] + sealed[11 + chunk : 11 + 2 * chunk] + sealed[11 : 11 + chunk] + sealed[11 + 2 * chunk :]


@pytest.mark.parametrize(
    "change",
    [
        lambda sealed: sealed[: 11 + 2 * ((1 << 20) + 16)],
        lambda sealed: sealed[:-1],
        _swap,
        lambda sealed: sealed[:5] + bytes([sealed[5] ^ 1]) + sealed[6:],
        lambda sealed: sealed[:-40] + bytes([sealed[-40] ^ 1]) + sealed[-39:],
        lambda sealed: b"",
    ],
    ids=["last chunk cut off", "byte cut off", "chunks swapped", "nonce", "byte flipped", "emptied"],
)
def test_a_changed_original_does_not_open(tmp_path, change):
    path = tmp_path / "o"
    write_sealed(os.urandom((2 << 20) + 100), path, b"k" * 32, "lender:1")
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(LakeCorruptionError):
        read_sealed(path, b"k" * 32, "lender:1")


def test_an_original_opens_only_for_its_own_delivery(tmp_path):
    write_sealed(b"content", tmp_path / "o", b"k" * 32, "lender:1")
    with pytest.raises(LakeCorruptionError):
        read_sealed(tmp_path / "o", b"k" * 32, "lender:2")


def test_refused_duplicate_and_single_files_are_kept_encrypted(lender):
    content = csv_of("people", *PEOPLE)
    (good,) = deliver(lender, {"people-1.csv": content})
    (again,) = deliver(lender, {"people-2.csv": content})
    (refused,) = deliver(lender, {"people-3.csv": b"name;street\nIlse Quandt-00001;Muehlgasse 1 b\n"})
    assert [r.state for r in (good, again, refused)] == [State.ACCEPTED, State.DUPLICATE, State.QUARANTINED]
    assert open_original(lender.ingest_context, "lender", refused.sha256).startswith(b"name;street")
    assert len(list((lender.ingest_context.lake / "originals/lender").iterdir())) == 2
    assert find_words([lender.settings.home], ["Ilse Quandt-00001"]) == []


# The key store.


def test_no_key_lies_in_the_data_folder(lender):
    deliver(lender, {"people-1.csv": csv_of("people", *PEOPLE)})
    assert not lender.settings.key_store_file.is_relative_to(lender.settings.home)
    assert lender.settings.key_store_file.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ValueError, match="data folder"):
        Settings(home=lender.settings.home, key_store=lender.settings.home / "lake/keys.sqlite")


def test_a_data_folder_without_its_key_store_shows_nobody(lender):
    (receipt,) = deliver(lender, {"people-1.csv": csv_of("people", *PEOPLE)})
    shutil.rmtree(lender.settings.key_store_file.parent)
    context = lender_in(lender.settings.home).ingest_context
    with pytest.raises(KeyDestroyedError):
        read_person(context, "lender", pseudonym(lender, "C100000"))
    with pytest.raises(KeyMissingError):
        open_original(context, "lender", receipt.sha256)


def own(lender, digits):
    """The same home under a master key of its own."""
    settings = lender.settings.model_copy(update={"master_key": digits * 32})
    return replace(lender, settings=settings)


def test_rotation_keeps_pseudonyms_and_everything_opens_with_the_new_key_only(lender):
    before = own(lender, "11")
    (receipt,) = deliver(before, {"people-1.csv": csv_of("people", *PEOPLE)})
    name = pseudonym(before, "C100001")
    store, new = before.ingest_context.key_store, load_keys("22" * 32, None, production=True)
    wrapped = _wrapped(store)
    assert store.rotate(new) == len(PEOPLE) + 1
    after = own(lender, "22")
    assert pseudonym(after, "C100001") == name
    assert read_person(after.ingest_context, "lender", name)[0].rows[0]["name"] == PEOPLE[1]["name"]
    assert open_original(after.ingest_context, "lender", receipt.sha256) == csv_of("people", *PEOPLE)
    with pytest.raises(MasterKeyError, match="another master key"):
        _ = own(lender, "11").ingest_context
    bytes_left = b"".join(p.read_bytes() for p in store.path.parent.iterdir())
    assert not any(old in bytes_left for old in wrapped), "what the old key opens is gone from the file"
    (more,) = deliver(after, {"people-2.csv": csv_of("people", person(1, name="Ilse Neu-00001"))})
    assert [k.delivery_id for k in read_person(after.ingest_context, "lender", name)] == [
        receipt.delivery_id,
        more.delivery_id,
    ]


def test_a_rotation_that_is_cut_off_has_not_happened(lender, monkeypatch):
    before = own(lender, "11")
    deliver(before, {"people-1.csv": csv_of("people", *PEOPLE)})
    calls = []

    def dies(self, key, context):
        calls.append(context)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return wrap(self, key, context)

    wrap = KeyStore._wrap
    with monkeypatch.context() as patch:
        patch.setattr(KeyStore, "_wrap", dies)
        with pytest.raises(KeyboardInterrupt):
            before.ingest_context.key_store.rotate(load_keys("22" * 32, None, production=True))
    again = own(lender, "11")
    assert read_person(again.ingest_context, "lender", pseudonym(again, "C100001"))
    with pytest.raises(MasterKeyError):
        _ = own(lender, "22").ingest_context


def test_public_pseudonyms_do_not_become_secret_by_another_master_key(lender):
    deliver(lender, {"people-1.csv": csv_of("people", *PEOPLE)})
    with pytest.raises(MasterKeyError, match="empty home"):
        lender.ingest_context.key_store.rotate(load_keys("22" * 32, None, production=True))


def _wrapped(store):
    with store._open() as db:
        found = db.execute("select wrapped from persons union all select wrapped from deliveries").fetchall()
    return [row[0] for row in found]


# Classes.


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (  # a name in a column that nobody looks at
            "transformLogic: \"'instalment_loan'\"}",
            "transformSourceObjects: [agreements.customer_no]}",
            "product would carry agreements.customer_no past the border, which is identifier",
        ),
        (
            "{name: sex, logicalType: integer, description: Column., classification: sensitive,"
            " transformSourceObjects: [people.sex]}",
            "{name: sex, logicalType: integer, description: Column., transformSourceObjects: [people.sex]}",
            "sex would carry people.sex past the border, which is sensitive",
        ),
        (
            "{name: account_id, logicalType: string, description: Column., classification: identifier,"
            " transformSourceObjects: [people.account_no]}",
            "{name: account_id, logicalType: string, description: Column., classification: identifier,"
            " transformSourceObjects: [people.street]}",
            "account_id would carry people.street past the border, which is personal",
        ),
        (
            "{name: payer_id, logicalType: string, description: Column., classification: identifier,",
            "{name: payer_id, logicalType: string, description: Column.,",
            "payer_id must have the classification 'identifier'",
        ),
        (
            "{name: original_amount, logicalType: number,",
            "{name: original_amount, logicalType: number, classification: sensitive,",
            "original_amount is sensitive: only borrower_attributes",
        ),
        (
            "{name: original_amount, logicalType: number,",
            "{name: original_amount, logicalType: number, classification: personal,",
            "original_amount is personal: such values never pass",
        ),
        (
            "{name: loan_id, logicalType: string, description: Column., primaryKey: true,"
            " transformSourceObjects: [agreements.loan_no]}",
            "{name: loan_id, logicalType: string, description: Column., primaryKey: true, classification: identifier,"
            " transformSourceObjects: [agreements.loan_no]}",
            "loan_id must be of the class identifier in all tables, or in none",
        ),
    ],
    ids=["identifier", "sensitive", "personal origin", "pseudonym", "sensitive table", "personal column", "one table"],
)
def test_a_contract_that_would_carry_persons_past_the_border_is_refused(tmp_path, old, new, says):
    assert old in CONTRACT
    with pytest.raises(ContractError, match=says):
        lender_in(tmp_path / "home", CONTRACT.replace(old, new))


def test_an_adapter_never_sees_what_is_personal(lender):
    seen = []
    source = lender.sources["lender"]

    def adapt(layout, rows, contract):
        seen.extend(rows.columns)
        return source.adapt(layout, rows, contract)

    folder = lender.ingest_context.landing / "lender"
    folder.mkdir(parents=True)
    (folder / "people-1.csv").write_bytes(csv_of("people", *PEOPLE))
    intake.ingest(replace(source, adapt=adapt), lender.ingest_context, lender.now())
    assert "customer_no" in seen
    assert not {"name", "street"} & set(seen)


def test_no_rule_tells_a_value(lender):
    """Reasons and messages of rows and files that were held back name columns and places, and nothing of the rows."""
    good = [person(n) for n in range(300)]
    bad = csv_of("people", *good, person(301, reported_on="31.3.18"), more="Ilse Quandt-00302,C100302\n")
    shifted = csv_of("people", person(1)).replace(b"customer_no", b"C100303")
    receipts = deliver(lender, {"people-1.csv": bad, "people-2.csv": shifted})
    held = [r for r in receipts if r.state is not State.ACCEPTED]
    assert len(held) == 2
    frames = [
        pl.read_parquet(lender.ingest_context.lake / f.path) for r in held for f in r.files if f.table == "quarantine"
    ]
    told = json.dumps([r.reason for r in held]) + "".join(f.drop("sealed_row").write_json() for f in frames)
    assert "reported_on" in told
    assert not [w for w in ("Quandt", "C1003", "DE55", "31.3.18") if w in told]


def test_a_lost_key_store_is_not_made_anew_in_silence(lender):
    ours = own(lender, "11")
    deliver(ours, {"people-1.csv": csv_of("people", *PEOPLE)})
    shutil.rmtree(ours.settings.key_store_file.parent)
    with pytest.raises(MasterKeyError, match="is missing"):
        _ = own(lender, "11").ingest_context
