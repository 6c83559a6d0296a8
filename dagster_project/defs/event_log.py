"""An event log for Dagster that stores events in SQLite and keeps its database connections open.

Dagster's own class creates a database engine for each event and disposes of it afterwards. This takes more than ten
times as long as storing the event, and a first night has thousands of events. The class in this module writes the same
rows to the same files, but keeps the connections open. Unless `batch` is used, no transaction stays open after an event
has been stored, so other processes can read and write as usual.

`SqliteEventLogStorage` is not a public interface of Dagster. The lock file pins Dagster's version, and
tests/orchestration/test_event_log.py fails if Dagster has changed the method that is overridden here.
"""

import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import sqlalchemy
from dagster import DagsterInstance
from dagster._config.config_schema import UserConfigSchema
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection
from sqlalchemy.pool import NullPool

_KEPT = 4  # databases whose connections stay open: the index, the current run, and two more


class KeptEventLog(SqliteEventLogStorage):
    """The event log of a home, with database connections that stay open.

    Each run has its own database. One more database, the index, contains the events of assets and checks.
    """

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._kept: OrderedDict[str, Connection] = OrderedDict()
        self._batched: set[str] | None = None
        self._process = os.getpid()
        super().__init__(base_dir, inst_data)

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """Return the schema of this class's settings in dagster.yaml.

        The schema is empty, because the class has no settings.
        """
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:  # noqa: ARG003
        """Open the event log in the folder `history/runs` of the directory that `DAGSTER_HOME` names."""
        return cls(str(Path(os.environ["DAGSTER_HOME"]) / "history" / "runs"), inst_data)

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Store all events that are logged inside the `with` block in one transaction per database.

        Other processes can read the events after the block has ended. If the block raises an error, none of its events
        is stored. All events must be logged by the same thread.
        """
        self._batched = set()
        try:
            yield
        except BaseException:
            self._end_batch(is_stored=False)
            raise
        self._end_batch(is_stored=True)

    def _end_batch(self, *, is_stored: bool) -> None:
        with self._db_lock:
            for shard in self._batched or ():
                transaction = self._kept[shard].get_transaction()
                if transaction is not None:
                    transaction.commit() if is_stored else transaction.rollback()
            self._batched = None

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock:
            connection = self._connection(shard)
            if self._batched is None:
                with connection.begin():
                    yield connection
            else:
                if not connection.in_transaction():
                    connection.begin()
                self._batched.add(shard)
                yield connection

    def _connection(self, shard: str) -> Connection:
        """Return the open connection to a database, and open it first if necessary.

        The database is created if it does not exist. If more than four connections are open afterwards, those that have
        not been used for the longest time are closed. During a batch, no connection is closed.
        """
        if self._process != os.getpid():  # a connection must not be used in a forked process
            self._kept, self._process = OrderedDict(), os.getpid()
        if shard not in self._kept:
            self._kept[shard] = self._opened(shard)
        self._kept.move_to_end(shard)
        if self._batched is None:
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)[1].close()
        return self._kept[shard]

    def _opened(self, shard: str) -> Connection:
        engine = sqlalchemy.create_engine(
            self.conn_string_for_shard(shard),
            poolclass=NullPool,
            connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
        )
        if shard not in self._initialized_dbs:
            self._initdb(engine)
            self._initialized_dbs.add(shard)
        return engine.connect()

    def wipe(self) -> None:
        """Delete all events.

        The connections are closed first, because the database files are deleted.
        """
        self._close()
        super().wipe()

    def dispose(self) -> None:
        """Close all connections, and stop watching the database files for changes."""
        self._close()
        super().dispose()

    def _close(self) -> None:
        with self._db_lock:
            while self._kept:
                self._kept.popitem()[1].close()


@contextmanager
def batch_of_events(instance: DagsterInstance) -> Iterator[None]:
    """Store all events that are logged inside the `with` block in one transaction per database.

    This applies only if the instance uses `KeptEventLog`. Any other event log, such as the in-memory one of tests,
    stores each event separately.
    """
    log = instance.event_log_storage
    if isinstance(log, KeptEventLog):
        with log.batch():
            yield
    else:
        yield
