"""A SQLAlchemy dialect with which Great Expectations reads DuckDB; it extends the dialect of duckdb-engine.

Great Expectations closes a connection before it fetches the rows, so each statement's rows are buffered at once. The
runner opens new, read-only connections without a pool: a pooled connection would lock the file against the next writer.
"""

from typing import Any

from duckdb_engine import Dialect
from sqlalchemy.dialects.postgresql.psycopg2 import PGExecutionContext_psycopg2
from sqlalchemy.engine.cursor import FullyBufferedCursorFetchStrategy


class _BufferingContext(PGExecutionContext_psycopg2):
    def post_exec(self) -> None:
        super().post_exec()  # type: ignore[no-untyped-call]
        if self.cursor.description:
            rows = self.cursor.fetchall()
            self.cursor_fetch_strategy = FullyBufferedCursorFetchStrategy(self.cursor, initial_buffer=rows)


class BufferedDuckDB(Dialect):  # type: ignore[misc]
    """DuckDB with buffered results. The runner registers it as `duckdb.gx`."""

    supports_statement_cache = False
    execution_ctx_cls = _BufferingContext

    def connect(self, *arguments: Any, schema: str | None = None, memory: str | None = None, **options: Any) -> Any:
        """Open a connection. Tables are looked up in `schema` first; DuckDB uses at most `memory`, like "2GB"."""
        connection = super().connect(*arguments, **options)
        if memory:
            connection.execute(f"set memory_limit = '{memory}'")
        if schema:
            connection.execute(f"set schema = '{schema}'")
        return connection
