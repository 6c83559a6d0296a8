"""The search for a person's words opens packed files and databases, and no damaged or encrypted file stops it."""

import datetime as dt
import gzip
import io
import sqlite3
import zipfile

import duckdb
import polars as pl
import pytest

from dagster_project.ingestion.persons.erasure import _years_after
from dagster_project.ingestion.persons.scan import find_words

WORD = "Ilse Quandt-00007"


def zipped(content: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inside.csv", content)
    return packed.getvalue()


def encrypted(archive: bytes) -> bytes:
    """Set the flag of encryption in both headers of a zip file's only member."""
    content = bytearray(archive)
    for signature, flag_at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + flag_at] |= 1
    return bytes(content)


def parquet(word: str) -> bytes:
    packed = io.BytesIO()
    pl.DataFrame({"name": [word] * 50}).write_parquet(packed)
    return packed.getvalue()


def database(path, connect) -> bytes:
    with connect(str(path)) as db:
        db.execute("create table person as select 'nobody' as name")
    return path.read_bytes()


def test_packed_word_is_found(tmp_path):
    content = f"no,name\n7,{WORD}\n".encode()
    files = {"a.gz": gzip.compress(content), "b.zip": zipped(content), "c.zip": zipped(gzip.compress(content))}
    for name, packed in (files | {"d.parquet": parquet(WORD)}).items():
        (tmp_path / name).write_bytes(packed)
    assert sorted(path.name for path in find_words([tmp_path], [WORD])) == ["a.gz", "b.zip", "c.zip", "d.parquet"]


@pytest.mark.parametrize("kind", ["zip", "gzip", "parquet", "sqlite", "duckdb", "encrypted zip"])
def test_file_that_cannot_be_opened_does_not_stop_the_search(tmp_path, kind):
    whole = {
        "zip": lambda: zipped(b"x" * 9_000),
        "gzip": lambda: gzip.compress(bytes(range(256)) * 40),
        "parquet": lambda: parquet("nobody"),
        "sqlite": lambda: database(tmp_path / "a.sqlite", sqlite3.connect),
        "duckdb": lambda: database(tmp_path / "a.duckdb", duckdb.connect),
        "encrypted zip": lambda: encrypted(zipped(b"nobody")),
    }[kind]()
    for path in tmp_path.iterdir():
        path.unlink()
    (tmp_path / "a").write_bytes(whole if kind == "encrypted zip" else whole[: len(whole) * 2 // 3])
    (tmp_path / "b.csv").write_text(WORD)
    assert [path.name for path in find_words([tmp_path], [WORD])] == ["b.csv"]


@pytest.mark.parametrize(
    ("last", "until"),
    [
        (dt.date(2021, 6, 30), dt.date(2026, 6, 30)),
        (dt.date(2020, 12, 31), dt.date(2025, 12, 31)),
        (dt.date(2020, 2, 29), dt.date(2025, 3, 1)),
        (dt.date(2019, 2, 28), dt.date(2024, 2, 28)),
    ],
)
def test_retention_is_no_day_too_short(last, until):
    """The end of retention was once moved to day 28 of its month."""
    assert _years_after(last, 5) == until
