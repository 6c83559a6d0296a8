"""Tests of encrypted originals: who can read them, in which order they are written, and how changes are detected."""

import os

import pytest

from dagster_project.ingestion.lake.files import LakeCorruptionError
from dagster_project.ingestion.lake.receipts import State
from dagster_project.ingestion.persons import originals
from dagster_project.ingestion.persons.originals import open_original, read_sealed, write_sealed
from dagster_project.ingestion.persons.scan import find_words
from dagster_project.keys.store import KeyStore
from support.cards import take_in
from support.persons import PEOPLE, csv_of, deliver


def test_original_is_kept_for_its_owner_only(pipeline, drop, cards):
    card_file, line = cards
    receipt = take_in(pipeline, drop, "a.csv", card_file(line(1)))
    (kept,) = (pipeline.ingest_context.lake / "originals").rglob(f"{receipt.sha256}*")
    assert kept.stat().st_mode & 0o777 == 0o600


def test_originals_and_keys_are_on_the_disk_before_the_receipt(lender, monkeypatch):
    """The original and its key are flushed to disk before the receipt is committed.

    Otherwise a power failure could destroy the original or the key after the receipt was written, and nobody would
    notice.
    """
    order = []
    monkeypatch.setattr(originals, "flush", lambda path: order.append("folder" if path.is_dir() else "original"))
    monkeypatch.setattr(KeyStore, "flush", lambda *_: order.append("keys"))
    commit = type(lender.ingest_context.book).commit
    monkeypatch.setattr(type(lender.ingest_context.book), "commit", lambda *a: (order.append("receipt"), commit(*a))[1])
    deliver(lender, {"people-1.csv": csv_of("people", *PEOPLE)})
    assert order == ["original", "folder", "keys", "receipt"]


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
