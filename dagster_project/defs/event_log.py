"""Dagster's event log in SQLite, on connections that stay open.

Dagster's own class builds a database engine for each event and disposes of it afterwards. That costs more than ten
times the event itself, and a first night has thousands of events. This class stores the same rows in the same files.
Only the connection is kept: between two events no transaction is open, so other processes read and write as before.

`SqliteEventLogStorage` is not a public interface of Dagster. Its version is pinned in the lock file, and
tests/orchestration/test_event_log.py fails if the method that is replaced here has changed.
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
    """The event log of a home. Each run has a database; one more, the index, has the events of assets and checks."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._kept: OrderedDict[str, Connection] = OrderedDict()
        self._batched: set[str] | None = None
        self._process = os.getpid()
        super().__init__(base_dir, inst_data)

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """The class has no settings: its folder is the one that Dagster uses by default."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:  # noqa: ARG003
        """Open the event log of the home in `DAGSTER_HOME`."""
        return cls(str(Path(os.environ["DAGSTER_HOME"]) / "history" / "runs"), inst_data)

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Store the events of the `with` statement's body in one transaction per database.

        Other processes see the events when the body has ended. If it raises an error, none of them is stored. The
        events must come from one thread.
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
        """The open connection to a database, which is created if it does not exist. The oldest others are closed."""
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
        """Remove all events. The connections are closed first, because the runs' files are removed."""
        self._close()
        super().wipe()

    def dispose(self) -> None:
        """Close the connections and stop watching files."""
        self._close()
        super().dispose()

    def _close(self) -> None:
        with self._db_lock:
            while self._kept:
                self._kept.popitem()[1].close()


@contextmanager
def batch_of_events(instance: DagsterInstance) -> Iterator[None]:
    """Store the events of the `with` statement's body at once, if the instance has the event log of this module.

    An instance in memory, as in tests, stores each event by itself.
    """
    log = instance.event_log_storage
    if isinstance(log, KeptEventLog):
        with log.batch():
            yield
    else:
        yield
