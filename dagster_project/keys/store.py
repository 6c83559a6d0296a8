"""The key store, which contains data keys, tombstones and retention holds.

Each person and each delivery has a data key. The data keys are wrapped (encrypted) with the master key. A tombstone
records that a person was erased. The store is one SQLite file outside the data folder. A backup of the data folder
therefore contains no keys, and restoring it cannot bring back a destroyed key. Tombstones and holds are in the same
file, so that restoring a backup cannot undo them either.
"""

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from dagster_project.home.files import flush
from dagster_project.keys.master import KEY_BYTES, Keys, MasterKeyError, seal, unseal

# `wrapped` is null if the key was destroyed. `told_by` is the vault file for which the key was made. It is null for
# keys that are older than this column; the persons with these keys are all in the vault.
_SCHEMA = """
create table root (wrapped blob not null);
create table persons (
  source    text not null,
  pseudonym text not null,
  wrapped   blob,
  erased_at text,
  told_by   text,
  primary key (source, pseudonym),
  check ((wrapped is null) = (erased_at is not null))
) without rowid;
create table deliveries (
  source  text not null,
  sha256  text not null,
  key_id  text not null,
  wrapped blob,
  primary key (source, sha256)
) without rowid;
create table holds (
  source    text not null,
  pseudonym text not null,
  until     text not null,
  reason    text not null,
  primary key (source, pseudonym)
) without rowid;
create index persons_erased on persons (source) where erased_at is not null;
"""
_NONCE_BYTES = 12
_REWRAP_ROWS = 50_000


class KeyDestroyedError(RuntimeError):
    """Raised if the key of a delivery or a person was destroyed or does not exist.

    Without the key, the data cannot be decrypted.
    """


class KeyMissingError(KeyDestroyedError):
    """Raised if the key store has never had a key for a delivery. It is probably new, or belongs to another lake."""


@dataclass(frozen=True)
class DeliveryKey:
    """The data key that encrypts the original and the quarantined rows of a delivery.

    `key_id` is part of the file name of the original. `key` is the unwrapped key.
    """

    key_id: str
    key: bytes = field(repr=False)


@dataclass(frozen=True)
class Hold:
    """A retention hold, which means that the data of a person must be kept until the day `until`."""

    until: date
    reason: str


class KeyStore:
    """The key store of one lake. The file is created by the first method that opens it."""

    def __init__(self, path: Path, keys: Keys) -> None:
        self.path, self._keys = path, keys

    def __repr__(self) -> str:
        """Return a text that shows the path of the file, but no keys."""
        return f"KeyStore({str(self.path)!r})"

    def lake_keys(self) -> Keys:
        """Return the current master key together with the root key of the lake.

        If the file does not exist yet, the master key is also the root key.

        Raises:
            MasterKeyError: if the keys in this store are wrapped with another master key.
        """
        if not self.path.exists():
            return self._keys
        with self._open() as db:
            row = db.execute("select wrapped from root").fetchone()
        return self._keys.rooted(self._unwrap(row[0], "root"))

    def person_keys(
        self, source: str, vault_files: Mapping[str, str], in_vault: Callable[[str], bool] | None = None
    ) -> dict[str, bytes]:
        """Return the data keys of persons by pseudonym, and create the keys that are missing.

        Erased persons are not in the result.

        Args:
            source: the source of the persons.
            vault_files: the path of the vault file that will contain the person's data, by pseudonym.
            in_vault: a function that returns whether a receipt names a vault file. If it is given, persons who are
                already in the vault are left out of the result. A person is in the vault if a receipt names the vault
                file for which the person's key was made. For the other persons, the path in `vault_files` is recorded
                as that file.
        """
        asked = sorted(vault_files)  # in the table's order, so that pages are read and written in sequence
        with self._change() as db:
            db.execute("create temp table asked (pseudonym text primary key) without rowid")
            db.executemany("insert into asked values (?)", ((p,) for p in asked))
            # `cross` makes SQLite look up the few requested persons in the large table, not the other way round.
            query = (
                "select pseudonym, wrapped, told_by from asked cross join persons using (pseudonym) where source = ?"
            )
            stored = {p: (wrapped, vault_file) for p, wrapped, vault_file in db.execute(query, (source,))}
            made = self._new_keys([(p, f"{source}:{p}") for p in asked if p not in stored])
            rows = ((source, p, wrapped, vault_files[p]) for p, (_, wrapped) in made.items())
            db.executemany("insert into persons (source, pseudonym, wrapped, told_by) values (?, ?, ?, ?)", rows)
            existing = {p: wrapped for p, (wrapped, _) in stored.items() if wrapped is not None}
            if in_vault:
                existing = {
                    p: w for p, w in existing.items() if stored[p][1] is not None and not in_vault(stored[p][1])
                }
                updates = ((vault_files[p], source, p) for p in existing)
                db.executemany("update persons set told_by = ? where source = ? and pseudonym = ?", updates)
        keys = {p: key for p, (key, _) in made.items()}
        return keys | {p: self._unwrap(wrapped, f"{source}:{p}") for p, wrapped in existing.items()}

    def upgrade(self) -> None:
        """Add the column `told_by` if the file was created by an older version that did not have it.

        If the file does not exist, this method does nothing.
        """
        if not self.path.exists():
            return
        with self._open() as db:
            if "told_by" not in {name for _, name, *_ in db.execute("pragma table_info(persons)")}:
                db.execute("alter table persons add column told_by text")

    def known_persons(self, source: str, pseudonyms: Iterable[str]) -> dict[str, datetime | None]:
        """Return the time of erasure (UTC) of each person who has an entry in the key store, by pseudonym.

        The time is None if the person was not erased. A person has an entry if a key was made for the person, even if
        it was destroyed later, or if the person was erased. Other persons are left out of the result.
        """
        query = "select erased_at from persons where source = ? and pseudonym = ?"
        with self._open() as db:
            rows = {p: db.execute(query, (source, p)).fetchone() for p in pseudonyms}
        return {p: row[0] and datetime.fromisoformat(row[0]) for p, row in rows.items() if row}

    def person_key(self, source: str, pseudonym: str) -> bytes:
        """Return the data key of a person.

        Raises:
            KeyDestroyedError: if the person was erased, or if this store never had a key for the person.
        """
        with self._open() as db:
            query = "select wrapped from persons where source = ? and pseudonym = ?"
            row = db.execute(query, (source, pseudonym)).fetchone()
        if not row or row[0] is None:
            raise KeyDestroyedError(f"{source}: {pseudonym} has no key; the borrower was erased, or is unknown")
        return self._unwrap(row[0], f"{source}:{pseudonym}")

    def erased(self, source: str) -> frozenset[str]:
        """Return the pseudonyms of all erased persons of a source. The result is empty if the file does not exist."""
        if not self.path.exists():
            return frozenset()
        with self._open() as db:
            # Without the hint, SQLite scans all persons of the source, and this query runs for every delivered file.
            query = "select pseudonym from persons indexed by persons_erased where source = ? and erased_at is not null"
            return frozenset(p for (p,) in db.execute(query, (source,)))

    def delivery_key(self, source: str, sha256: str, *, make: bool = False) -> DeliveryKey:
        """Return the data key of a delivery. If there is no key and `make` is True, a new key is created.

        Raises:
            KeyMissingError: if there is no key and `make` is False.
            KeyDestroyedError: if an erasure destroyed the key, so that the original cannot be decrypted.
        """
        query = "select key_id, wrapped from deliveries where source = ? and sha256 = ?"
        context = f"{source}:{sha256}"
        with self._open() as db:
            found = db.execute(query, (source, sha256)).fetchone()
            if found is None and make:
                _, wrapped = self._new_keys([(context, context)])[context]
                row = (source, sha256, os.urandom(4).hex(), wrapped)
                db.execute("insert or ignore into deliveries values (?, ?, ?, ?)", row)
                found = db.execute(query, (source, sha256)).fetchone()
        if found is None:
            raise KeyMissingError(f"{source}: {self.path} has no key for delivery {sha256[:16]}")
        if found[1] is None:
            raise KeyDestroyedError(f"{source}: the key of delivery {sha256[:16]} was destroyed by an erasure")
        return DeliveryKey(found[0], self._unwrap(found[1], context))

    def make_delivery_keys(self, source: str, sha256s: Sequence[str]) -> dict[str, DeliveryKey]:
        """Return the keys of deliveries by sha256; create the missing ones, in one transaction.

        The result leaves out the keys that an erasure destroyed.
        """
        marks = ", ".join("?" * len(sha256s))
        query = f"select sha256, key_id, wrapped from deliveries where source = ? and sha256 in ({marks})"  # noqa: S608
        with self._change() as db:
            stored = {sha: (key_id, wrapped) for sha, key_id, wrapped in db.execute(query, (source, *sha256s))}
            new = self._new_keys([(sha, f"{source}:{sha}") for sha in dict.fromkeys(sha256s) if sha not in stored])
            made = {sha: (os.urandom(4).hex(), wrapped, key) for sha, (key, wrapped) in new.items()}
            rows = ((source, sha, key_id, wrapped) for sha, (key_id, wrapped, _) in made.items())
            db.executemany("insert into deliveries values (?, ?, ?, ?)", rows)
        keys = {sha: DeliveryKey(key_id, key) for sha, (key_id, _, key) in made.items()}
        return keys | {
            sha: DeliveryKey(key_id, self._unwrap(wrapped, f"{source}:{sha}"))
            for sha, (key_id, wrapped) in stored.items()
            if wrapped is not None
        }

    def delivery_keys(self, source: str) -> dict[str, DeliveryKey]:
        """Return the data keys of all deliveries of a source, by sha256 of the delivery.

        Destroyed keys are left out.
        """
        with self._open() as db:
            query = "select sha256, key_id, wrapped from deliveries where source = ? and wrapped is not null"
            rows = db.execute(query, (source,)).fetchall()
        return {sha: DeliveryKey(key_id, self._unwrap(w, f"{source}:{sha}")) for sha, key_id, w in rows}

    def delivery_key_ids(self, source: str) -> dict[str, str]:
        """Return the ID of each delivery's key, by sha256 of the delivery.

        The ID of a destroyed key is an empty string.
        """
        with self._open() as db:
            return dict(db.execute("select sha256, key_id from deliveries where source = ?", (source,)))

    def new_delivery_key(self) -> DeliveryKey:
        """Return a new random key that can replace the key of a delivery.

        The key is not stored here; pass it to `erase` to store it.
        """
        return DeliveryKey(os.urandom(4).hex(), os.urandom(KEY_BYTES))

    def erase(
        self, source: str, pseudonyms: Iterable[str], deliveries: Mapping[str, DeliveryKey | None], at: datetime
    ) -> None:
        """Destroy the keys of a person, and replace or destroy the keys of deliveries, in one transaction.

        Args:
            source: the source of the person.
            pseudonyms: the pseudonyms of the person. Each of them gets a tombstone, even if it had no key.
            deliveries: the key of the rewritten original, by sha256 of the delivery. The value None destroys the old
                key without a replacement, so that the original can no longer be decrypted.
            at: the time to record in the tombstones, in UTC. If a pseudonym already has a tombstone, its time is kept.

        Raises:
            RuntimeError: if another process was reading the store for a minute. The erasure is committed, but the
                destroyed keys are still in the journal of the file; run the command again to remove them.
        """
        with self._change() as db:
            db.executemany(
                "insert into persons (source, pseudonym, erased_at) values (?, ?, ?) on conflict do update set"
                " wrapped = null, erased_at = coalesce(erased_at, excluded.erased_at)",
                [(source, p, at.isoformat()) for p in pseudonyms],
            )
            for sha256, new in deliveries.items():
                wrapped = self._wrap(new.key, f"{source}:{sha256}") if new else None
                db.execute(
                    "update deliveries set key_id = ?, wrapped = ? where source = ? and sha256 = ?",
                    (new.key_id if new else "", wrapped, source, sha256),
                )
        self._empty_journal()

    def hold(self, source: str, pseudonym: str, hold: Hold) -> None:
        """Set a retention hold on the data of a person. An earlier hold on the same pseudonym is replaced."""
        with self._change() as db:
            row = (source, pseudonym, hold.until.isoformat(), hold.reason)
            db.execute("insert or replace into holds values (?, ?, ?, ?)", row)
        self.flush()

    def held(self, source: str, pseudonym: str) -> Hold | None:
        """Return the retention hold on the data of a person, even if it has expired, or None if there is no hold."""
        with self._open() as db:
            query = "select until, reason from holds where source = ? and pseudonym = ?"
            row = db.execute(query, (source, pseudonym)).fetchone()
        return Hold(date.fromisoformat(row[0]), row[1]) if row else None

    def rotate(self, new: Keys) -> int:
        """Wrap all keys with another master key in one transaction, and return the number of data keys.

        Raises:
            MasterKeyError: if the lake uses the public development key, or if `new` contains the development key.
            RuntimeError: if another process was reading the store for a minute. All keys are already wrapped with the
                new master key, but the journal of the file still contains the keys as they were wrapped with the old
                one.
        """
        keys = self.lake_keys()
        if keys.is_development or new.is_development:
            raise MasterKeyError(
                "the pseudonyms of a lake that started with the public development key stay public: start with an "
                "empty home and your own key"
            )
        other, count = KeyStore(self.path, new), 0
        with self._change() as db:
            wrapped = other._wrap(keys.root, "root")
            db.execute("update root set wrapped = ?", (wrapped,))
            for table, column in (("persons", "pseudonym"), ("deliveries", "sha256")):
                # Read all rows first: SQLite must not update rows while it reads them, and a key takes only 60 bytes.
                query = f"select source, {column}, wrapped from {table} where wrapped is not null"  # noqa: S608
                rows = db.execute(query).fetchall()
                update = f"update {table} set wrapped = ? where source = ? and {column} = ?"  # noqa: S608
                for begin in range(0, len(rows), _REWRAP_ROWS):
                    part = rows[begin : begin + _REWRAP_ROWS]
                    texts = [(s, k, f"{s}:{k}") for s, k, _ in part]
                    rewrapped = [
                        other._wrap(self._unwrap(w, t), t) for (_, _, w), (_, _, t) in zip(part, texts, strict=True)
                    ]
                    db.executemany(update, [(w, s, k) for w, (s, k, _) in zip(rewrapped, texts, strict=True)])
                count += len(rows)
        self._empty_journal()
        return count

    def flush(self) -> None:
        """Flush all changes to disk.

        A commit does not flush to disk, because one flush per delivered file would be slow.
        """
        for path in (self.path.with_name(f"{self.path.name}-wal"), self.path):
            with contextlib.suppress(FileNotFoundError):
                flush(path)

    def _empty_journal(self) -> None:
        """Truncate SQLite's write-ahead log, which may still contain keys that were deleted or replaced.

        In the database file itself, the option `secure_delete` overwrites such keys.

        Raises:
            RuntimeError: if another process is still reading the store after one minute.
        """
        with self._open() as db:
            busy, _, _ = db.execute("pragma wal_checkpoint(truncate)").fetchone()
        if busy:
            raise RuntimeError(
                f"{self.path} is in use, and destroyed keys are still in its journal: run the command again"
            )

    @contextmanager
    def kept_open(self) -> Iterator[None]:
        """Keep a connection to the file open during many small changes.

        SQLite flushes to disk whenever the last connection is closed. With this connection open, it does so only once.
        """
        with self._open():
            yield

    def _wrap(self, key: bytes, context: str) -> bytes:
        return seal(self._keys.wrapping, key, context)

    def _unwrap(self, wrapped: bytes, context: str) -> bytes:
        try:
            return unseal(self._keys.wrapping, wrapped, context)
        except InvalidTag:
            raise MasterKeyError(
                f"the key store {self.path} is wrapped with another master key: use that key or, for a new home, "
                "another key store (CREDITLOOM_KEY_STORE)"
            ) from None

    def _new_keys(self, names: Sequence[tuple[str, str]]) -> dict[str, tuple[bytes, bytes]]:
        """Make a new random key for each (name, context), and return (key, wrapped key) by name.

        The context is needed again to unwrap the key. The keys are not stored here.
        """
        keys, nonces = os.urandom(KEY_BYTES * len(names)), os.urandom(_NONCE_BYTES * len(names))
        wrapping = AESGCM(self._keys.wrapping)
        made = {}
        for i, (name, context) in enumerate(names):
            key = keys[i * KEY_BYTES : (i + 1) * KEY_BYTES]
            nonce = nonces[i * _NONCE_BYTES : (i + 1) * _NONCE_BYTES]
            made[name] = (key, nonce + wrapping.encrypt(nonce, key, context.encode()))
        return made

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        if not self.path.exists():
            self._create()
        db = sqlite3.connect(self.path, timeout=60, isolation_level=None)
        try:
            # A commit does not flush; `flush` does, once for many files, before their receipts are written.
            db.execute("pragma synchronous = normal")
            db.execute("pragma secure_delete = on")
            # 64 MiB, written as negative KiB. With the default of 2 MB, SQLite reads a large store page by page.
            db.execute("pragma cache_size = -65536")
            yield db
        finally:
            db.close()

    def _create(self) -> None:
        """Create the file atomically, because other processes may create or open it at the same time."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = self.path.with_name(f".{self.path.name}.{os.urandom(4).hex()}.tmp")
        temporary.touch(mode=0o600)
        db = sqlite3.connect(temporary, isolation_level=None)
        db.execute("pragma journal_mode = wal")
        db.executescript(_SCHEMA)
        db.execute("insert into root values (?)", (self._wrap(self._keys.root, "root"),))
        db.close()
        flush(temporary)
        with contextlib.suppress(FileExistsError):
            os.link(temporary, self.path)
        temporary.unlink()
        flush(self.path.parent)

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """Run the body of a `with` statement as one transaction on the store.

        After an exception, the transaction is rolled back.
        """
        with self._open() as db, db:
            db.execute("begin immediate")
            yield db
