"""The key store: the data keys of persons and deliveries, wrapped by the master key, and what was destroyed of them.

It is one SQLite file outside the data folder, and that is its whole point: a backup of the data folder holds no key, so
that a key which is destroyed here cannot come back with it. Tombstones and holds stand here for the same reason.
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

# `wrapped` is null where the key was destroyed. `told_by`: the vault's file for which the key was made; null of keys
# from before that was noted, whose persons are in the vault.
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
    """The key of this delivery or person was destroyed: what it sealed is gone."""


class KeyMissingError(KeyDestroyedError):
    """There never was a key of this delivery here: the key store is another one, or was lost."""


@dataclass(frozen=True)
class DeliveryKey:
    """The key of one delivery's original and quarantined rows. `key_id` stands in the original's file name."""

    key_id: str
    key: bytes = field(repr=False)


@dataclass(frozen=True)
class Hold:
    """A borrower's data must be kept until a day."""

    until: date
    reason: str


class KeyStore:
    """The key store of one lake. The file is made with the first key."""

    def __init__(self, path: Path, keys: Keys) -> None:
        self.path, self._keys = path, keys

    def __repr__(self) -> str:
        """Shows where it is, and nothing of the keys."""
        return f"KeyStore({str(self.path)!r})"

    def lake_keys(self) -> Keys:
        """The keys of the lake: the master key that was given, over the root that the lake was begun with.

        Raises:
            MasterKeyError: the master key is not the one that this key store is wrapped with.
        """
        if not self.path.exists():
            return self._keys
        with self._open() as db:
            found = db.execute("select wrapped from root").fetchone()
        return self._keys.rooted(self._unwrap(found[0], "root"))

    def person_keys(
        self, source: str, told_by: Mapping[str, str], in_vault: Callable[[str], bool] | None = None
    ) -> dict[str, bytes]:
        """The data key of each of these persons, made where there is none; an erased one gets none and is left out.

        Args:
            source: the source.
            told_by: by pseudonym, the vault's file that is to hold what is told of the person.
            in_vault: leave out the persons who have a key, if what they were told by when it was made is in the vault.
        """
        asked = sorted(told_by)  # in the order of the table: pages are then found and written one after another
        with self._change() as db:
            db.execute("create temp table asked (pseudonym text primary key) without rowid")
            db.executemany("insert into asked values (?)", ((p,) for p in asked))
            # `cross`: the few who are asked about are looked up among all persons, not the other way round.
            query = (
                "select pseudonym, wrapped, told_by from asked cross join persons using (pseudonym) where source = ?"
            )
            stored = {p: (wrapped, before) for p, wrapped, before in db.execute(query, (source,))}
            made = self._new_keys([(p, f"{source}:{p}") for p in asked if p not in stored])
            rows = ((source, p, wrapped, told_by[p]) for p, (_, wrapped) in made.items())
            db.executemany("insert into persons (source, pseudonym, wrapped, told_by) values (?, ?, ?, ?)", rows)
            again = {p: wrapped for p, (wrapped, _) in stored.items() if wrapped is not None}
            if in_vault:
                again = {p: w for p, w in again.items() if stored[p][1] is not None and not in_vault(stored[p][1])}
                later = ((told_by[p], source, p) for p in again)
                db.executemany("update persons set told_by = ? where source = ? and pseudonym = ?", later)
        keys = {p: key for p, (key, _) in made.items()}
        return keys | {p: self._unwrap(wrapped, f"{source}:{p}") for p, wrapped in again.items()}

    def upgrade(self) -> None:
        """Bring a file of an older version up to this one: it does not say what its persons were told by."""
        if not self.path.exists():
            return
        with self._open() as db:
            if "told_by" not in {name for _, name, *_ in db.execute("pragma table_info(persons)")}:
                db.execute("alter table persons add column told_by text")

    def known_persons(self, source: str, pseudonyms: Iterable[str]) -> dict[str, datetime | None]:
        """Which of these persons have, or had, a key: None, or when it was destroyed (UTC)."""
        query = "select erased_at from persons where source = ? and pseudonym = ?"
        with self._open() as db:
            found = {p: db.execute(query, (source, p)).fetchone() for p in pseudonyms}
        return {p: row[0] and datetime.fromisoformat(row[0]) for p, row in found.items() if row}

    def person_key(self, source: str, pseudonym: str) -> bytes:
        """The data key of a person.

        Raises:
            KeyDestroyedError: the person was erased, or never had a key here.
        """
        with self._open() as db:
            query = "select wrapped from persons where source = ? and pseudonym = ?"
            found = db.execute(query, (source, pseudonym)).fetchone()
        if not found or found[0] is None:
            raise KeyDestroyedError(
                f"{source}: there is no key of {pseudonym}; the borrower was erased, or never known"
            )
        return self._unwrap(found[0], f"{source}:{pseudonym}")

    def erased(self, source: str) -> frozenset[str]:
        """Pseudonyms of the erased persons of a source."""
        if not self.path.exists():
            return frozenset()
        with self._open() as db:
            # Without the hint SQLite goes through all persons of the source, and this is asked for each file.
            query = "select pseudonym from persons indexed by persons_erased where source = ? and erased_at is not null"
            return frozenset(p for (p,) in db.execute(query, (source,)))

    def delivery_key(self, source: str, sha256: str, *, make: bool = False) -> DeliveryKey:
        """The key of a delivery.

        `make`: give it one if it has none.

        Raises:
            KeyMissingError: it has none.
            KeyDestroyedError: an erasure destroyed it, and with it the original.
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
            raise KeyMissingError(f"{source}: {self.path} has no key of delivery {sha256[:16]}")
        if found[1] is None:
            raise KeyDestroyedError(f"{source}: the key of delivery {sha256[:16]} was destroyed by an erasure")
        return DeliveryKey(found[0], self._unwrap(found[1], context))

    def delivery_keys(self, source: str) -> dict[str, DeliveryKey]:
        """The keys of all deliveries of a source that can still be opened, by sha256."""
        with self._open() as db:
            query = "select sha256, key_id, wrapped from deliveries where source = ? and wrapped is not null"
            rows = db.execute(query, (source,)).fetchall()
        return {sha: DeliveryKey(key_id, self._unwrap(w, f"{source}:{sha}")) for sha, key_id, w in rows}

    def delivery_key_ids(self, source: str) -> dict[str, str]:
        """The id of each delivery's key by sha256, empty where it was destroyed."""
        with self._open() as db:
            return dict(db.execute("select sha256, key_id from deliveries where source = ?", (source,)))

    def new_delivery_key(self) -> DeliveryKey:
        """A key that takes the place of another one in `erase`."""
        return DeliveryKey(os.urandom(4).hex(), os.urandom(KEY_BYTES))

    def erase(
        self, source: str, pseudonyms: Iterable[str], deliveries: Mapping[str, DeliveryKey | None], at: datetime
    ) -> None:
        """Destroy the keys of a person, and put others in the place of those of deliveries, or none; all at once.

        Args:
            source: the source.
            pseudonyms: of the person; each gets a tombstone, whether it had a key or not.
            deliveries: by sha256, the new key of what was written anew, or None where all of it goes.
            at: the time on the tombstones, in UTC.
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
        """Keep a person's data until a day; takes the place of an earlier hold."""
        with self._change() as db:
            row = (source, pseudonym, hold.until.isoformat(), hold.reason)
            db.execute("insert or replace into holds values (?, ?, ?, ?)", row)
        self.flush()

    def held(self, source: str, pseudonym: str) -> Hold | None:
        """The hold on a person, whether it is over or not."""
        with self._open() as db:
            query = "select until, reason from holds where source = ? and pseudonym = ?"
            found = db.execute(query, (source, pseudonym)).fetchone()
        return Hold(date.fromisoformat(found[0]), found[1]) if found else None

    def rotate(self, new: Keys) -> int:
        """Wrap everything with another master key, in one transaction; returns how many keys were wrapped anew.

        Raises:
            MasterKeyError: one of the two keys is the development key, which would stay the root of all pseudonyms.
        """
        keys = self.lake_keys()
        if keys.is_development or new.is_development:
            raise MasterKeyError(
                "a lake that was begun with the public development key keeps public pseudonyms for good: begin in an "
                "empty home, with a key of your own"
            )
        other, count = KeyStore(self.path, new), 0
        with self._change() as db:
            wrapped = other._wrap(keys.root, "root")
            db.execute("update root set wrapped = ?", (wrapped,))
            for table, column in (("persons", "pseudonym"), ("deliveries", "sha256")):
                # Read whole: a key takes 60 bytes, and what is read must not be written at the same time.
                query = f"select source, {column}, wrapped from {table} where wrapped is not null"  # noqa: S608
                rows = db.execute(query).fetchall()
                update = f"update {table} set wrapped = ? where source = ? and {column} = ?"  # noqa: S608
                for begin in range(0, len(rows), _REWRAP_ROWS):
                    part = rows[begin : begin + _REWRAP_ROWS]
                    texts = [(s, k, f"{s}:{k}") for s, k, _ in part]
                    again = [
                        other._wrap(self._unwrap(w, t), t) for (_, _, w), (_, _, t) in zip(part, texts, strict=True)
                    ]
                    db.executemany(update, [(w, s, k) for w, (s, k, _) in zip(again, texts, strict=True)])
                count += len(rows)
        self._empty_journal()
        return count

    def flush(self) -> None:
        """Make what was written survive a power cut. A commit alone does not: that would cost a flush a file."""
        for path in (self.path.with_name(f"{self.path.name}-wal"), self.path):
            with contextlib.suppress(FileNotFoundError):
                flush(path)

    def _empty_journal(self) -> None:
        """Leave nothing of what was overwritten in the journal, nor in the file itself (`secure_delete`).

        Raises:
            RuntimeError: somebody reads the store for a minute.
        """
        with self._open() as db:
            busy, _, _ = db.execute("pragma wal_checkpoint(truncate)").fetchone()
        if busy:
            raise RuntimeError(
                f"{self.path} is in use, and what was destroyed still stands in its journal: run it again"
            )

    @contextmanager
    def kept_open(self) -> Iterator[None]:
        """While many small changes are made: whoever closes the file last has it flushed each time."""
        with self._open():
            yield

    def _wrap(self, key: bytes, context: str) -> bytes:
        return seal(self._keys.wrapping, key, context)

    def _unwrap(self, wrapped: bytes, context: str) -> bytes:
        try:
            return unseal(self._keys.wrapping, wrapped, context)
        except InvalidTag:
            raise MasterKeyError(
                f"the key store {self.path} was made, or last rotated, with another master key: give that key; or, for "
                "a new home, name another key store (CREDITLOOM_KEY_STORE)"
            ) from None

    def _new_keys(self, names: Sequence[tuple[str, str]]) -> dict[str, tuple[bytes, bytes]]:
        """A key and its wrapped form for each (name, context)."""
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
            # What a commit wrote is flushed by `flush`, which comes before a receipt: not once a file.
            db.execute("pragma synchronous = normal")
            db.execute("pragma secure_delete = on")
            db.execute(
                "pragma cache_size = -65536"
            )  # KiB; with the 2 MB that are usual a large book is read page by page
            yield db
        finally:
            db.close()

    def _create(self) -> None:
        """Make the file under its final name at once: readers may come at the same time."""
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
        """One transaction."""
        with self._open() as db, db:
            db.execute("begin immediate")
            yield db
