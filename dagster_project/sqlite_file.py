"""One SQLite file, opened for one transaction: whatever keeps its rows in one of its own opens it in this way."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path


@contextmanager
def transaction(path: Path, schema: str) -> Iterator[sqlite3.Connection]:
    """Make the file if it is not there; what is written is flushed at the end, or rolled back where something fails.

    Args:
        path: the file; its folder is made, too.
        schema: statements that may be repeated (`if not exists`).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, timeout=30)) as db:
        db.execute("pragma synchronous = full")
        db.execute("pragma recursive_triggers = on")  # `insert or replace` deletes, too
        db.executescript(schema)
        with db:
            yield db
