"""Transactions on small SQLite files: one file per store, opened for one transaction at a time."""

import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path


@contextmanager
def transaction(path: Path, schema: str) -> Iterator[sqlite3.Connection]:
    """Open the file, or create it; the changes are flushed to disk at the end, or rolled back after an exception.

    Args:
        path: the file; its folder is created if it is missing.
        schema: statements that can run again (`if not exists`).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, timeout=30)) as db:
        db.execute("pragma synchronous = full")
        db.execute("pragma recursive_triggers = on")  # for the delete of `insert or replace`
        # The script took as long as the transaction itself, so it runs only in files that another schema created.
        version = zlib.crc32(schema.encode()) >> 1
        if db.execute("pragma user_version").fetchone()[0] != version:
            db.executescript(f"{schema};\npragma user_version = {version}")
        with db:
            yield db
