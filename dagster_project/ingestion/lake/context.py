"""The border that every delivery passes: its folders, its keys, and its clock, which only goes forward."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from dagster_project.audit.chain import AuditLog
from dagster_project.ingestion.lake.receipts import ReceiptBook
from dagster_project.keys.master import Keys, MasterKeyError
from dagster_project.keys.store import KeyStore


@dataclass(frozen=True)
class IngestContext:
    """Where deliveries come from and go to, and what ingestion needs to let them pass."""

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
        """The audit chain of this lake; its head lies elsewhere."""
        return AuditLog(self.lake / "audit.sqlite", self.audit_head, self.keys.derive("audit"))

    def check_key(self) -> None:
        """Refuse a key that is not the one that this lake's pseudonyms are made with.

        Raises:
            MasterKeyError: another key was used before, or the key store of a lake with a key of its own is gone.
        """
        sealed = any((self.lake / "originals").glob("*/*.sealed"))
        if sealed and not self.keys.is_development and not self.key_store.path.exists():
            raise MasterKeyError(
                f"the key store {self.key_store.path} is missing, and {self.lake} was encrypted with its keys: put it "
                "back, or say where it is (CREDITLOOM_KEY_STORE). A new one could open nothing of what is there"
            )
        if (self.lake / "receipts.sqlite").exists() and self.book.key_mark(self.keys.mark) != self.keys.mark:
            raise MasterKeyError(
                f"the pseudonyms in {self.lake} were made with another key. Give that key, or begin in an empty home: "
                "a lake cannot change its key by a setting"
            )


class ClockError(RuntimeError):
    """A replay's clock would run backwards, or ahead of the world."""


def check_clock(on: date, clock: datetime, context: IngestContext) -> None:
    """Refuse a replay that a later night could not be told apart from.

    Raises:
        ClockError: the day is not over yet in the real world, or something was taken in after it.
    """
    newest = max((r.ingested_at for r in context.book.all()), default=clock)
    if clock < newest:
        raise ClockError(
            f"this replay takes {on} for today, and something was taken in on {newest:%Y-%m-%d}: a replay only goes "
            "forward. Replay in an empty home (CREDITLOOM_HOME), or take the files in without --on"
        )
    if on > datetime.now(UTC).date():
        raise ClockError(f"{on} is in the future; a replay takes a past day, or today, for today")


def forward(now: datetime, context: IngestContext) -> datetime:
    """The clock, never behind what was taken in: a night is rebuilt by it, and must find what it saw and no more."""
    clock = now.astimezone(UTC).replace(tzinfo=None) if now.tzinfo else now
    return max((clock, *(r.ingested_at for r in context.book.all())))
