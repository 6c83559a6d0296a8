"""A small SQLite file that is opened for one transaction at a time: how, for whoever keeps one."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def transaction(path: Path, schema: str) -> Iterator[sqlite3.Connection]:
    """One transaction, flushed to disk when it ends well and taken back when it does not.

    Args:
        path: the file; it and its folder are made.
        schema: statements that make what is missing, each of them `if not exists`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=30)
    try:
        connection.execute("pragma synchronous = full")
        connection.execute("pragma recursive_triggers = on")  # `insert or replace` deletes, too
        connection.executescript(schema)
        with connection:
            yield connection
    finally:
        connection.close()
