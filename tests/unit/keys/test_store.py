"""Tests of the key store: it is outside the data folder, and its master key is changed fully or not at all."""

import shutil
from dataclasses import replace

import pytest

from dagster_project.home.settings import Settings
from dagster_project.ingestion.persons.originals import open_original
from dagster_project.ingestion.persons.vault import read_person
from dagster_project.keys.master import MasterKeyError, load_keys
from dagster_project.keys.store import KeyDestroyedError, KeyMissingError, KeyStore
from support.persons import PEOPLE, csv_of, deliver, lender_in, person, pseudonym


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
    """Return the pipeline of the same home with another master key.

    The key consists of the two hexadecimal digits in `digits`, repeated 32 times.
    """
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


def test_lost_key_store_is_an_error_and_is_not_recreated(lender):
    ours = own(lender, "11")
    deliver(ours, {"people-1.csv": csv_of("people", *PEOPLE)})
    shutil.rmtree(ours.settings.key_store_file.parent)
    with pytest.raises(MasterKeyError, match="is missing"):
        _ = own(lender, "11").ingest_context
