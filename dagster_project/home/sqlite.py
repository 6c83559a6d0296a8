"""Transactions on small SQLite files. A file is opened for one transaction and closed afterwards."""

import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path


@contextmanager
def transaction(path: Path, schema: str) -> Iterator[sqlite3.Connection]:
    """Open a SQLite file and run the body of the `with` statement as one transaction.

    The changes are committed and flushed to disk at the end. After an exception, they are rolled back.

    Args:
        path: the file. The file and its folder are created if they are missing.
        schema: the SQL statements that create the tables. They may run more than once, so they need `if not exists`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, timeout=30)) as db:
        db.execute("pragma synchronous = full")
        db.execute("pragma recursive_triggers = on")  # `insert or replace` then fires the delete trigger
        # The script takes as long as the transaction itself. It runs only in a new file, or if the file has another
        # schema.
        version = zlib.crc32(schema.encode()) >> 1
        if db.execute("pragma user_version").fetchone()[0] != version:
            db.executescript(f"{schema};\npragma user_version = {version}")
        with db:
            yield db
