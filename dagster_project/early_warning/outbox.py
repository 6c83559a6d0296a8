"""The outbox: all messages about changes of state, and the time at which each channel accepted them.

A message is stored before it is sent, and is marked as sent after the channel has accepted it. If a crash happens in
between, the message is sent again with the same id. Therefore no message is lost, and none is stored twice.
"""

import json
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from dagster_project.early_warning.channels import Channel, ChannelError
from dagster_project.early_warning.messages import SERIES, Message, Reported, Series
from dagster_project.early_warning.rules import State
from dagster_project.home.sqlite import transaction

_SCHEMA = """
create table if not exists messages (
  message_no   integer primary key autoincrement,
  message_id   text not null unique,
  written_at   text not null,
  source       text not null,
  indicator    text not null,
  segment_kind text not null,
  segment      text not null,
  month_on     text not null,
  previous     text not null,
  state        text not null,
  body         text not null
);
create table if not exists deliveries (
  message_id   text not null references messages (message_id),
  channel      text not null,
  attempts     integer not null default 0,
  last_error   text,
  sent_at      text,
  primary key (message_id, channel)
);
create trigger if not exists messages_keep before update on messages
  begin select raise(abort, 'the outbox is append-only'); end;
create trigger if not exists messages_keep_rows before delete on messages
  begin select raise(abort, 'the outbox is append-only'); end;
"""


@dataclass(frozen=True)
class Sent:
    """The result of sending the waiting messages once.

    `taken`: the number of messages that each channel accepted. `failed`: for each channel that failed, the reason.
    """

    taken: dict[str, int]
    failed: dict[str, str]


class Outbox:
    """The outbox of a home, stored in one SQLite file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def _open(self) -> AbstractContextManager[sqlite3.Connection]:
        return transaction(self._path, _SCHEMA)

    def write(
        self, changes: Callable[[dict[Series, Reported]], Sequence[Message]], channels: Sequence[str], now: datetime
    ) -> list[Message]:
        """Store the messages that are due, mark them as waiting in each of the channels, and return them.

        All of this happens in one transaction. `changes` is called with the last message about each series, and returns
        the messages that are due. Messages are stored with the time `now`.
        """
        with self._open() as db:
            db.execute("begin immediate")
            messages = list(changes(_reported(db)))
            for message in messages:
                body = json.dumps(message.body, sort_keys=True)
                row = (message.message_id, now.isoformat(), *message.series, message.month_on)
                db.execute(
                    "insert into messages (message_id, written_at, source, indicator, segment_kind, segment, month_on,"
                    " previous, state, body) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (*row, message.previous.value, message.state.value, body),
                )
                db.executemany(
                    "insert into deliveries (message_id, channel) values (?, ?)",
                    [(message.message_id, channel) for channel in channels],
                )
        return messages

    def send(self, channels: Sequence[Channel], now: datetime) -> Sent:
        """Send all waiting messages through each channel, oldest first, and record each attempt.

        If a channel fails, the rest of its messages wait for the next call, so that each channel delivers messages in
        order. The other channels are not affected.
        """
        taken, failed = {}, {}
        for channel in channels:
            waiting = self.waiting(channel.name)
            taken[channel.name] = 0
            for message_id, body in waiting:
                try:
                    channel.send(message_id, body)
                except ChannelError as error:
                    self._record_attempt(message_id, channel.name, str(error), None)
                    failed[channel.name] = str(error)
                    break
                self._record_attempt(message_id, channel.name, None, now)
                taken[channel.name] += 1
        return Sent(taken, failed)

    def waiting(self, channel: str | None = None) -> list[tuple[str, str]]:
        """Return the messages that were not sent yet, as (message id, body), oldest first.

        If `channel` is given, these are the messages that this channel has not accepted. If `channel` is None, these
        are the messages that at least one channel has not accepted.
        """
        query = (
            "select distinct m.message_no, m.message_id, m.body from messages m join deliveries d using (message_id)"
            " where d.sent_at is null and d.channel = coalesce(?, d.channel) order by m.message_no"
        )
        with self._open() as db:
            return [(message_id, body) for _, message_id, body in db.execute(query, (channel,)).fetchall()]

    def reported(self) -> dict[Series, Reported]:
        """Return the last message about each series. A series that no message was stored about has no entry."""
        with self._open() as db:
            return _reported(db)

    def _record_attempt(self, message_id: str, channel: str, error: str | None, sent_at: datetime | None) -> None:
        with self._open() as db:
            db.execute(
                "update deliveries set attempts = attempts + 1, last_error = ?, sent_at = ?"
                " where message_id = ? and channel = ?",
                (error, sent_at.isoformat() if sent_at else None, message_id, channel),
            )


def _reported(db: sqlite3.Connection) -> dict[Series, Reported]:
    columns = ", ".join(SERIES)
    rows = db.execute(f"select {columns}, message_id, state from messages order by message_no").fetchall()  # noqa: S608
    return {tuple(row[: len(SERIES)]): Reported(row[-2], State(row[-1])) for row in rows}
