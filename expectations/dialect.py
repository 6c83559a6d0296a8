"""The SQLAlchemy dialect with which Great Expectations reads DuckDB. It extends the dialect of duckdb-engine.

Great Expectations closes a connection before it fetches the rows. Therefore the dialect fetches all rows of a statement
as soon as the statement has run.

The runner opens new read-only connections without a pool, because a pooled connection would keep the file locked and
the next process could not write to it.
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
    """A DuckDB dialect that fetches all rows of a statement at once. The runner registers it as `duckdb.gx`."""

    supports_statement_cache = False
    execution_ctx_cls = _BufferingContext

    def connect(self, *arguments: Any, schema: str | None = None, memory: str | None = None, **options: Any) -> Any:
        """Open a connection to a DuckDB file.

        `schema` is the schema in which tables are looked up first. `memory` is the most memory that DuckDB may use, for
        example "2GB". If one of them is None, DuckDB's default applies.
        """
        connection = super().connect(*arguments, **options)
        if memory:
            connection.execute(f"set memory_limit = '{memory}'")
        if schema:
            connection.execute(f"set schema = '{schema}'")
        return connection
