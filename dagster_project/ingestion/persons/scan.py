"""A search for words in files of any kind, which helps to prove that an erasure left no data behind.

Words are found as UTF-8, UTF-16 (little-endian), base64 or hex. The search includes the values in Parquet, SQLite and
DuckDB files, and the contents of gzip and zip files. It finds nothing in encrypted files; the proof of an erasure
relies on that.
"""

import base64
import gzip
import io
import shutil
import sqlite3
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import duckdb
import polars as pl

_BLOCK = 1 << 24
_PARQUET, _SQLITE, _GZIP, _ZIP = b"PAR1", b"SQLite format 3\x00", b"\x1f\x8b", b"PK\x03\x04"
_DUCKDB, _DUCKDB_AT = b"DUCK", 8
_VALUES = 100_000


def find_words(folders: Iterable[Path], words: Iterable[str]) -> list[Path]:
    """Return the paths of all files in these folders and their subfolders that contain at least one of the words.

    Symbolic links to files are skipped.
    """
    needles = [form for word in words for form in forms(word)]
    found = []
    for folder in folders:
        paths = (p for p in sorted(folder.rglob("*")) if p.is_file() and not p.is_symlink())
        found += [path for path in paths if needles and _holds(path, needles)]
    return found


def forms(word: str) -> list[bytes]:
    """Return the byte sequences with which a word can be written in a file.

    These are the word in UTF-8, in UTF-16 (little-endian), in hex and in base64. In base64 a word has three forms,
    because its encoding depends on its offset in the encoded data. Each of them is returned in the standard and in the
    URL-safe alphabet.
    """
    utf8 = word.encode()
    found = [utf8, word.encode("utf-16-le"), utf8.hex().encode(), utf8.hex().upper().encode()]
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + utf8)
        # A base64 character encodes six bits. Leave out the characters at both ends that also depend on bytes beside
        # the word.
        part = encoded[-(-shift * 8 // 6) : (shift + len(utf8)) * 8 // 6]
        found += [part, part.translate(bytes.maketrans(b"+/", b"-_"))]
    return list(dict.fromkeys(found))


def _holds(path: Path, needles: list[bytes]) -> bool:
    try:
        with path.open("rb") as handle:
            head = handle.read(16)
    except FileNotFoundError:  # for example a database journal that was removed meanwhile
        return False
    if _in_bytes(path, needles):
        return True
    try:
        return any(_in_chunk(value, needles) for value in _values(path, head))
    except (pl.exceptions.ComputeError, sqlite3.DatabaseError, duckdb.Error):
        return False  # a damaged file: nobody can read more in it than its bytes


def _in_bytes(path: Path, needles: list[bytes]) -> bool:
    overlap, tail = max(map(len, needles)), b""
    with path.open("rb") as handle:
        while block := handle.read(_BLOCK):
            if _in_chunk(tail + block, needles):
                return True
            tail = block[-overlap:]
    return False


def _in_chunk(chunk: bytes, needles: list[bytes]) -> bool:
    return any(needle in chunk for needle in needles)


def _values(path: Path, head: bytes) -> Iterator[bytes]:
    """Yield the contents of a Parquet, SQLite, DuckDB, gzip or zip file in pieces.

    Nothing is yielded for any other file. `head` contains the first bytes of the file, which identify its format.
    """
    if head.startswith(_PARQUET):
        yield from _frame_values(pl.read_parquet(path))
    elif head.startswith(_SQLITE):
        yield from _sqlite_values(path)
    elif head[_DUCKDB_AT:].startswith(_DUCKDB):
        yield from _duckdb_values(path)
    elif head.startswith((_GZIP, _ZIP)):
        yield from _unpacked(path.read_bytes())


def _unpacked(content: bytes) -> Iterator[bytes]:
    """Yield the contents of a gzip, zip or Parquet file, and of the files of these kinds inside it.

    Nothing is yielded if the content has none of these formats. If the file is damaged, or a file in it is encrypted,
    the contents that cannot be read are skipped without an error.
    """
    inner = []
    try:
        if content.startswith(_GZIP):
            inner = [gzip.decompress(content)]
        elif content.startswith(_ZIP):
            with zipfile.ZipFile(io.BytesIO(content)) as packed:
                inner = [packed.read(name) for name in packed.namelist()]
        elif content.startswith(_PARQUET):
            yield from _frame_values(pl.read_parquet(content))
    # zipfile raises a RuntimeError for an encrypted file.
    except (OSError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile, pl.exceptions.ComputeError):
        return
    for part in inner:
        yield part
        yield from _unpacked(part)


def _frame_values(frame: pl.DataFrame) -> Iterator[bytes]:
    """Yield all strings and binary values of a frame, and its nested values as JSON.

    All other columns and all nulls are skipped.
    """
    for column in frame.columns:
        series = frame[column].drop_nulls()
        if series.dtype == pl.Binary:
            yield b"\n".join(series.to_list())
        elif series.dtype == pl.String:
            yield "\n".join(series.to_list()).encode()
        elif series.dtype.is_nested():
            yield frame.select(column).write_ndjson().encode()


def _sqlite_values(path: Path) -> Iterator[bytes]:
    with _copied(path, "-wal", "-shm") as copy, closing(sqlite3.connect(copy)) as db:
        for (table,) in db.execute("select name from sqlite_master where type = 'table'").fetchall():
            rows = db.execute(f'select * from "{table}"')  # noqa: S608
            while part := rows.fetchmany(_VALUES):
                values = [
                    v.encode() if isinstance(v, str) else v for row in part for v in row if isinstance(v, str | bytes)
                ]
                yield b"\n".join(values)
                for value in values:
                    yield from _unpacked(value)


def _duckdb_values(path: Path) -> Iterator[bytes]:
    with _copied(path, ".wal") as copy, duckdb.connect(str(copy)) as db:
        query = "select schema_name, table_name from duckdb_tables()"
        for schema, table in db.execute(query).fetchall():
            rows = db.sql(f'select * from "{schema}"."{table}"')  # noqa: S608
            yield from _frame_values(rows.pl())
        for (text,) in db.execute("select sql from duckdb_views() where not internal").fetchall():
            yield str(text).encode()


@contextmanager
def _copied(path: Path, *beside: str) -> Iterator[Path]:
    """Yield the path of a temporary copy of a database file, so that opening the copy does not change the original.

    The database's journals are copied as well. `beside` contains the endings of their file names, such as `-wal`.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        for ending in ("", *beside):
            journal = path.with_name(path.name + ending)
            if journal.exists():
                shutil.copyfile(journal, copy.with_name(copy.name + ending))
        yield copy
