"""DuckDB for Great Expectations: duckdb-engine's dialect, adapted to how Great Expectations reads.

Great Expectations closes a connection before it fetches from it, so results are buffered when a statement has run.
Every connection is new and read-only: a pooled one would lock the file against the next writer.
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
    """Registered as `duckdb.gx`."""

    supports_statement_cache = False
    execution_ctx_cls = _BufferingContext

    def connect(self, *arguments: Any, schema: str | None = None, memory: str | None = None, **options: Any) -> Any:
        """Connect. Names are looked up in `schema` first; DuckDB uses at most `memory`."""
        connection = super().connect(*arguments, **options)
        if memory:
            connection.execute(f"set memory_limit = '{memory}'")
        if schema:
            connection.execute(f"set schema = '{schema}'")
        return connection
