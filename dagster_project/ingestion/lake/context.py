"""The context of ingestion: its folders, keys, receipts and audit log, and checks of the time of ingestion.

The warehouse calls the date on which a row was known `known_on`. In lake files the same date is called `known_at`,
because the columns of existing lake files are never renamed.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from dagster_project.audit.chain import AuditLog
from dagster_project.ingestion.lake.receipts import ReceiptBook
from dagster_project.keys.master import Keys, MasterKeyError
from dagster_project.keys.store import KeyStore


@dataclass(frozen=True)
class IngestContext:
    """The folders, keys and limits of ingestion.

    If the share of bad lines in a file exceeds `max_bad_row_share`, the whole file is quarantined. `audit_head` is the
    path of the file that stores the head of the audit chain.
    """

    landing: Path
    lake: Path
    keys: Keys
    max_bad_row_share: float
    key_store: KeyStore
    audit_head: Path

    @property
    def book(self) -> ReceiptBook:
        """Return the receipts of this lake."""
        return ReceiptBook(self.lake / "receipts.sqlite")

    @property
    def audit(self) -> AuditLog:
        """Return the audit chain of this lake.

        The head of the chain is stored outside the lake, in the file `audit_head`.
        """
        return AuditLog(self.lake / "audit.sqlite", self.audit_head, self.keys.derive("audit"))

    def check_key(self) -> None:
        """Check that the root key is the key with which the pseudonyms of this lake were made.

        If the lake contains encrypted originals, also check that the key store exists. This check is skipped for the
        development key.

        Raises:
            MasterKeyError: the pseudonyms were made with another key, or the key store is missing.
        """
        sealed = any((self.lake / "originals").glob("*/*.sealed"))
        if sealed and not self.keys.is_development and not self.key_store.path.exists():
            raise MasterKeyError(
                f"the key store {self.key_store.path} is missing, and {self.lake} was encrypted with its keys: restore "
                "it, or set CREDITLOOM_KEY_STORE to its path. A new key store cannot decrypt this lake"
            )
        if (self.lake / "receipts.sqlite").exists() and self.book.key_mark(self.keys.mark) != self.keys.mark:
            raise MasterKeyError(
                f"the pseudonyms in {self.lake} were made with another key. Use that key, or start with an empty home: "
                "a setting cannot change the key of a lake"
            )


class ClockError(RuntimeError):
    """The day of a replay is before the newest delivery, or in the future."""


def check_clock(on: date, clock: datetime, context: IngestContext) -> None:
    """Check that a replay does not go back in time and does not run in the future.

    Args:
        on: the day of the replay.
        clock: the time that the replay uses as the current time, in UTC.
        context: the context with the receipts, which contain the times of earlier deliveries.

    Raises:
        ClockError: the day is in the future, or a receipt is newer than `clock`.
    """
    newest = max((r.ingested_at for r in context.book.all()), default=clock)
    if clock < newest:
        raise ClockError(
            f"this replay runs as of {on}, but a delivery was committed on {newest:%Y-%m-%d}: a replay only goes "
            "forward. Replay in an empty home (CREDITLOOM_HOME), or run the night without --on"
        )
    if on > datetime.now(UTC).date():
        raise ClockError(f"{on} is in the future; a replay needs a past day or today")


def forward(now: datetime, context: IngestContext) -> datetime:
    """Return `now` in UTC, or the time of the newest receipt if that is later.

    A time without a time zone is taken as UTC. The times of receipts therefore never decrease. So a night that is
    rebuilt as of an earlier time reads the same deliveries again.
    """
    clock = now.astimezone(UTC).replace(tzinfo=None) if now.tzinfo else now
    return max((clock, *(r.ingested_at for r in context.book.all())))
