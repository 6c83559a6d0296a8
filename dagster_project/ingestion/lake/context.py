"""The context of ingestion: folders, keys, receipts, audit log, and the clock, which never goes backwards.

The column `known_at` of the lake's files is the date that the warehouse calls `known_on`; lake files keep their names.
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

    `max_bad_row_share`: share of bad lines above which a whole file is quarantined. `audit_head`: path of the file with
    the head of the audit chain.
    """

    landing: Path
    lake: Path
    keys: Keys
    max_bad_row_share: float
    key_store: KeyStore
    audit_head: Path

    @property
    def book(self) -> ReceiptBook:
        """The receipts of this lake."""
        return ReceiptBook(self.lake / "receipts.sqlite")

    @property
    def audit(self) -> AuditLog:
        """The audit chain of this lake; its head is stored in `audit_head`."""
        return AuditLog(self.lake / "audit.sqlite", self.audit_head, self.keys.derive("audit"))

    def check_key(self) -> None:
        """Refuse a root key other than the one that made this lake's pseudonyms.

        Raises:
            MasterKeyError: the lake was made with another key, or its key store is missing.
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
    """Refuse a replay that would be inconsistent with the receipts or with the real date.

    Args:
        on: the day of the replay.
        clock: the time that the replay uses as the current time, in UTC.
        context: the context with the receipts, which have the times of earlier deliveries.

    Raises:
        ClockError: the day is in the future, or a receipt is newer than the clock.
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

    Times of receipts therefore never decrease, and a night rebuilt as of an instant sees the same deliveries again.
    """
    clock = now.astimezone(UTC).replace(tzinfo=None) if now.tzinfo else now
    return max((clock, *(r.ingested_at for r in context.book.all())))
