"""The erasure of a person.

An erasure destroys the person's data key and rewrites the originals without the values that identify the person. Then
it searches all stored data, to prove that nothing was left. Rows of the lake keep the person's pseudonym, so that no
figure changes.

The erasure takes effect in one transaction of the key store. Before this transaction, the stored data is unchanged.
After it, nobody can decrypt the old originals, not even those in backups of the data folder.
"""

import contextlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import polars as pl

from dagster_project.home.files import flush
from dagster_project.ingestion.contracts.canonical import CANONICAL, PAYER, PERSON_IDS
from dagster_project.ingestion.contracts.contract import Table
from dagster_project.ingestion.contracts.source import Source
from dagster_project.ingestion.lake.context import IngestContext
from dagster_project.ingestion.lake.landing import waiting
from dagster_project.ingestion.persons.identity import (
    PersonSearch,
    UnreadableError,
    domains,
    hide,
    mentions,
    persons_of,
)
from dagster_project.ingestion.persons.originals import (
    original_path,
    read_sealed,
    sealed_rows,
    sweep_originals,
    write_sealed,
)
from dagster_project.ingestion.persons.scan import find_words
from dagster_project.ingestion.persons.vault import NOT_READ, VAULT, read_payer, read_person
from dagster_project.keys.store import DeliveryKey, Hold, KeyDestroyedError

_PSEUDONYM = re.compile(r"^[0-9a-f]{32}$")
_MIN_WORD = 6


class ErasureError(RuntimeError):
    """Raised if an erasure is not possible, so that nothing was erased. The message gives the reason and what to do."""


@dataclass(frozen=True)
class Person:
    """A person in the data of one source.

    Attributes:
        pseudonyms: the person's pseudonyms as borrower and as payer.
        search: the pseudonyms and words with which the person's data can be found.
        erased_at: the time of the person's last erasure in UTC, or None if the person was never erased.
    """

    pseudonyms: tuple[str, ...]
    search: PersonSearch
    erased_at: datetime | None


@dataclass(frozen=True)
class Proof:
    """The result of the search for a person's data after an erasure. The erasure is proven if `left` is empty.

    Attributes:
        originals: the number of originals that were searched.
        quarantined_rows: the number of quarantined rows that were searched.
        vault_rows: the number of the person's rows in the vault, which can no longer be decrypted.
        files: the number of unencrypted files that were searched.
        shared: the number of originals that still contain a word that identifies the person. After an erasure, such
            words belong to records of other persons. An example is the number of a joint account.
        left: the places where data of the person was still found.
    """

    originals: int
    quarantined_rows: int
    vault_rows: int
    files: int
    shared: int
    left: tuple[str, ...]


@dataclass(frozen=True)
class Erasure:
    """The outcome of an attempt to erase a person.

    Attributes:
        source: the name of the source.
        pseudonyms: the person's pseudonyms.
        held: the hold that prevented the erasure, or None if the person was erased. If there is a hold, nothing was
            changed.
        rewritten: the number of originals that were rewritten.
        records: the number of records from which the identifying values were removed, in all rewritten originals.
        destroyed: the number of originals that were destroyed because they could not be rewritten.
        erased_before: the time of an earlier erasure of the same person, or None if there was none.
        proof: the result of the search after the erasure, or None if a hold prevented the erasure.
    """

    source: str
    pseudonyms: tuple[str, ...]
    held: Hold | None = None
    rewritten: int = 0
    records: int = 0
    destroyed: int = 0
    erased_before: datetime | None = None
    proof: Proof | None = None


def find_person(context: IngestContext, source: Source, borrower: str) -> Person | None:
    """Find a person by `borrower`, which is the source's own number for the person or a pseudonym.

    Return None if no delivery of the source contained the person. The search decrypts data in the vault and in the
    originals, so the caller must record it in the audit chain.
    """
    store, numbers, given = context.key_store, {borrower}, list[str]()
    if _PSEUDONYM.match(borrower):
        own_numbers = _numbers(context, source, borrower)
        if own_numbers or store.known_persons(source.name, [borrower]):
            numbers, given = own_numbers, [borrower]
    derived = [_pseudonym(context, n, domain) for n in sorted(numbers) for domain in domains(source)]
    pseudonyms = tuple(dict.fromkeys([*given, *derived]))
    known_persons = store.known_persons(source.name, pseudonyms)
    vault_rows = list(_vault_rows(context, source, pseudonyms))
    search = PersonSearch(frozenset(pseudonyms), frozenset(numbers.union(*(_words(*row) for row in vault_rows))))
    person = Person(pseudonyms, search, max((at for at in known_persons.values() if at), default=None))
    return person if known_persons or vault_rows or any(_changed(context, source, person.search)) else None


def retention(context: IngestContext, source: Source, person: Person, years: int) -> Hold | None:
    """Return the hold on a person's data that ends last, or None if there is no hold.

    A hold is either set by hand, or it results from the retention period. The retention period is the given number of
    years after the last event of the person or of the person's loans. A hold that has expired is returned as well, so
    the caller must compare its date with the current date.
    """
    holds = [h for p in person.pseudonyms if (h := context.key_store.held(source.name, p))]
    last = _last_event(context, source, person)
    if last is not None:
        until = _years_after(last, years)
        holds.append(Hold(until, f"retention of {years} years after the last event, {last}"))
    return max(holds, key=lambda hold: hold.until, default=None)


def _years_after(day: date, years: int) -> date:
    """Return the same day some years later; for 29 February in a year without it, 1 March."""
    try:
        return day.replace(year=day.year + years)
    except ValueError:
        return date(day.year + years, 3, 1)


def erase(
    context: IngestContext, source: Source, person: Person, folders: Iterable[Path], now: datetime, years: int
) -> Erasure:
    """Erase a person, unless a hold prevents the erasure.

    Args:
        context: the lake, the keys and the key store.
        source: the source of the person.
        person: the person, as returned by `find_person`.
        folders: the folders to search for unencrypted data of the person after the erasure.
        now: the time of the erasure in UTC. The tombstone records it.
        years: the retention period, as the number of years after the last event of the person or of the person's loans.

    Raises:
        ErasureError: if files of the source wait in the landing folder, because they may contain data of the person.
        RuntimeError: if another process was reading the key store; see `KeyStore.erase`.
    """
    if waiting(source, context):
        raise ErasureError(
            f"files of {source.name} wait in {context.landing / source.name} and may contain the borrower: run "
            "`creditloom night` first"
        )
    hold = retention(context, source, person, years)
    if hold and hold.until > now.date():
        return Erasure(source.name, person.pseudonyms, held=hold)
    changes: dict[str, DeliveryKey | None] = {}
    records = destroyed = 0
    for sha256, hidden in _changed(context, source, person.search):
        if hidden is None:
            destroyed += 1
            changes[sha256] = None
            continue
        content, count = hidden
        key = changes[sha256] = context.key_store.new_delivery_key()
        path = original_path(context.lake, source.name, sha256, key.key_id)
        write_sealed(content, path, key.key, f"{source.name}:{sha256}")
        flush(path)
        flush(path.parent)
        records += count
    context.key_store.erase(source.name, person.pseudonyms, changes, now)
    sweep_originals(context, source.name)
    return Erasure(
        source.name,
        person.pseudonyms,
        rewritten=len(changes) - destroyed,
        records=records,
        destroyed=destroyed,
        erased_before=person.erased_at,
        proof=prove(context, source, person, folders),
    )


def prove(context: IngestContext, source: Source, person: Person, folders: Iterable[Path]) -> Proof:
    """Search for data of a person after an erasure, and return the result.

    The search covers everything that can still be decrypted, and all files in `folders`, which are not decrypted.
    """
    left = [
        f"the key of {p}" for p, at in context.key_store.known_persons(source.name, person.pseudonyms).items() if not at
    ]
    left += [f"original {sha256[:16]}" for sha256, _ in _changed(context, source, person.search)]
    pattern, originals, shared = person.search.pattern, 0, 0
    for _, content in _originals(context, source):
        originals += 1
        shared += bool(pattern and pattern.search(content.decode("utf-8", "replace")))
    rows = vault_rows = 0
    for receipt in context.book.all(source.name):
        texts = sealed_rows(context, receipt)
        rows += len(texts)
        if any(mentions(texts, source, context.keys, person.search, by_word=False)):
            left.append(f"a quarantined row of {receipt.delivery_id}")
        for item in (f for f in receipt.files if f.table == VAULT):
            theirs = pl.col("pseudonym").is_in(list(person.pseudonyms))
            vault_rows += pl.scan_parquet(context.lake / item.path).filter(theirs).select(pl.len()).collect().item()
    searched = list(folders)
    left += [str(path) for path in find_words(searched, filter(_is_distinctive, person.search.words))]
    files = sum(p.is_file() for folder in searched for p in folder.rglob("*"))
    return Proof(originals, rows, vault_rows, files, shared, tuple(left))


def _changed(
    context: IngestContext, source: Source, search: PersonSearch
) -> Iterator[tuple[str, tuple[bytes, int] | None]]:
    """Yield each original that contains data of the searched persons, with its content after the data was removed.

    The items are (sha256, (new content, number of changed records)). If the data cannot be removed from an original,
    the item is (sha256, None).
    """
    names = {r.sha256: r.file_name for r in reversed(context.book.all(source.name))}
    for sha256, content in _originals(context, source):
        layout = source.contract.layout_of(names.get(sha256, ""))
        try:
            hidden = hide(content, layout, source, context.keys, search)
        except UnreadableError:
            yield sha256, None
        else:
            if hidden:
                yield sha256, hidden


def _originals(context: IngestContext, source: Source) -> Iterator[tuple[str, bytes]]:
    """Yield (sha256, decrypted content) for each original of a source that can be decrypted.

    Originals without a receipt, which a crash may leave, are included. Originals whose file is missing are skipped.
    """
    for sha256, key in context.key_store.delivery_keys(source.name).items():
        path = original_path(context.lake, source.name, sha256, key.key_id)
        if path.exists():
            yield sha256, read_sealed(path, key.key, f"{source.name}:{sha256}")


def _pseudonym(context: IngestContext, number: str, domain: str) -> str:
    return str(context.keys.pseudonyms(pl.Series([number]), domain)["pseudonym"].item())


def _vault_rows(
    context: IngestContext, source: Source, pseudonyms: Collection[str]
) -> Iterator[tuple[Table, dict[str, str | None]]]:
    """Yield (layout, values by column) for each row in which a person is the borrower or the payer.

    The rows as borrower come from the vault; there are none if the person's key was destroyed. The rows as payer come
    from the originals. Rows that no layout of the contract can read are skipped.
    """
    layouts = {layout.name: layout for layout in source.contract.layouts}
    records = read_payer(context, source, pseudonyms)
    for pseudonym in pseudonyms:
        with contextlib.suppress(KeyDestroyedError):
            records += read_person(context, source.name, pseudonym)
    for kept in records:
        if kept.layout in layouts:
            yield from ((layouts[kept.layout], row) for row in kept.rows)


def _numbers(context: IngestContext, source: Source, pseudonym: str) -> set[str]:
    """Return the numbers that the source uses for the person with this pseudonym.

    The result is empty if no such number is found in the vault or in the originals.
    """
    layouts = {layout.name: layout for layout in source.contract.layouts}
    numbers = set()
    for kept in read_payer(context, source, [pseudonym]):  # only this person's rows
        persons = persons_of(layouts[kept.layout], source) if kept.layout != NOT_READ else ()
        columns = [person.column for person in persons if not person.is_borrower] or [PAYER]
        numbers |= {number for row in kept.rows for column in columns if (number := row.get(column))}
    return numbers | {
        number
        for layout, row in _vault_rows(context, source, [pseudonym])
        for person in persons_of(layout, source)
        if (number := row.get(person.column)) and _pseudonym(context, number, person.domain) == pseudonym
    }


def _words(layout: Table, row: Mapping[str, str | None]) -> set[str]:
    """Return the values of a row that are distinctive enough for a text search.

    These are values such as full names, addresses and long account numbers. Codes, single words and short values are
    left out, because they would also be found by chance.
    """
    return {
        value.strip()
        for column, value in row.items()
        if value and layout.schema.get(column) == pl.String and (_is_distinctive(value) or _is_long_number(value))
    }


def _is_distinctive(value: str) -> bool:
    """Return whether a value is so distinctive that it is unlikely to occur in a text by chance.

    It must have at least 6 characters, with letters and at least one other character, as a full name has.
    """
    return len(value) >= _MIN_WORD and any(c.isalpha() for c in value) and not value.isalpha()


def _is_long_number(value: str) -> bool:
    return len(value) >= _MIN_WORD and value.isdigit()


def _last_event(context: IngestContext, source: Source, person: Person) -> date | None:
    """Return the day of the last event of a person or of the person's loans, or None if the lake has no such event."""
    paths: dict[str, set[Path]] = {}
    for receipt in context.book.all(source.name):
        for item in receipt.files:
            if item.table in CANONICAL:
                paths.setdefault(item.table, set()).add(context.lake / item.path)
    loans: list[str] = []
    if "loans" in paths:
        theirs = pl.col("borrower_id").is_in(list(person.pseudonyms))
        loans = (
            pl.scan_parquet(list(paths["loans"]))
            .filter(theirs)
            .select("loan_id")
            .unique()
            .collect()["loan_id"]
            .to_list()
        )
    newest = []
    for table, files in paths.items():
        ids = dict.fromkeys(PERSON_IDS, person.pseudonyms) | {"loan_id": loans}
        is_theirs = [pl.col(name).is_in(list(values)) for name, values in ids.items() if name in CANONICAL[table]]
        rows = pl.scan_parquet(list(files)).filter(pl.any_horizontal(is_theirs))
        newest.append(rows.select(pl.col("event_on").max()).collect().item())
    return max((day for day in newest if day), default=None)
