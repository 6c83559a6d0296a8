"""One SQLite file, opened for one transaction: whatever keeps its rows in one of its own opens it in this way."""

import sqlite3
import zlib
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
        # To run the script took as long as what is done here; a file that was made by another one runs this one too.
        version = zlib.crc32(schema.encode()) >> 1
        if db.execute("pragma user_version").fetchone()[0] != version:
            db.executescript(f"{schema};\npragma user_version = {version}")
        with db:
            yield db
