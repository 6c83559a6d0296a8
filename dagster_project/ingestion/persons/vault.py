"""The vault, which contains the identifying values of borrowers, encrypted with one data key per borrower.

The vault has one Parquet file per delivery. A vault file that no receipt names is ignored. Each row has the pseudonym
of a borrower and the values of this borrower in the delivery, in encrypted form. The data keys are in the key store.

The vault does not contain values of payers. These are read from the encrypted originals, from the lines whose rows in
the lake have the payer's pseudonym.
"""

import contextlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from dagster_project.ingestion.contracts.canonical import CANONICAL, PAYER
from dagster_project.ingestion.contracts.contract import Table
from dagster_project.ingestion.contracts.source import Source
from dagster_project.ingestion.lake.context import IngestContext
from dagster_project.ingestion.lake.files import verified, write_parquet
from dagster_project.ingestion.lake.receipts import LakeFile
from dagster_project.ingestion.lake.row_index import KnownRows
from dagster_project.ingestion.parsing.records import LINE_NO, DeliveryRefusedError, raw_lines, read_records
from dagster_project.ingestion.persons.identity import PersonColumn, PersonSearch, number, numbers_in, persons_of
from dagster_project.ingestion.persons.originals import OriginalMissingError, open_original
from dagster_project.keys.master import seal, unseal
from dagster_project.keys.store import KeyDestroyedError

VAULT = "vault"
NOT_READ = "no layout reads it now"  # takes the place of a layout's name
_KEYS_AT_ONCE = 250_000  # a limit, so that other processes do not wait long for the key store


@dataclass(frozen=True)
class Kept:
    """The values of a person in one delivery.

    Attributes:
        delivery_id: the ID of the delivery.
        layout: the name of the layout with which the values were read, or NOT_READ if no layout of the contract can
            read them now.
        rows: the distinct rows of the person, each with its values by column.
    """

    delivery_id: str
    layout: str
    rows: tuple[dict[str, str | None], ...]


@dataclass(frozen=True)
class PersonalValues:
    """The identifying values of borrowers in the accepted rows of a delivery, before they are encrypted.

    Attributes:
        layout: the layout of the delivery.
        path: the path of the vault file, relative to the folder of the lake.
        persons: one pair for each column that contains borrowers' numbers: the column, and a frame with one row per
            number. The frame's column `value` is the number, and its column `row` is the borrower's identifying values
            as JSON.
    """

    layout: Table
    path: Path
    persons: tuple[tuple[PersonColumn, pl.DataFrame], ...]

    @property
    def height(self) -> int:
        """Return the number of persons. A person who occurs in several columns is counted once for each column."""
        return sum(rows.height for _, rows in self.persons)


def personal_values_of(
    text: pl.DataFrame, good: pl.DataFrame, layout: Table, source: Source, name: str
) -> PersonalValues | None:
    """Return the identifying values of borrowers in the accepted rows of a delivery.

    Return None if the layout has no column of borrowers' numbers, or if no row was accepted.

    Args:
        text: the records of the delivery, with each column as text.
        good: a frame with the `line_no` of each accepted record.
        layout: the layout of the delivery.
        source: the source of the delivery.
        name: the file name to use for the vault file.
    """
    borrowers = [person for person in persons_of(layout, source) if person.is_borrower]
    if not borrowers or good.is_empty():
        return None
    accepted = text if good.height == text.height else text.join(good, on=LINE_NO, how="semi")
    persons = tuple(
        (
            person,
            accepted.filter(pl.col(person.column).is_not_null())
            .select(number(person, layout).alias("value"), pl.struct(person.identifying).alias("row"))
            .unique(maintain_order=True)
            .with_columns(pl.col("row").struct.json_encode())
            .group_by("value", maintain_order=True)
            .agg(pl.col("row").str.join(",")),
        )
        for person in borrowers
    )
    return PersonalValues(
        layout, Path(VAULT) / source.name / name, tuple((p, rows) for p, rows in persons if rows.height)
    )


def write_vault(
    personal_values: Sequence[PersonalValues], source: Source, context: IngestContext, known_rows: KnownRows
) -> list[tuple[LakeFile, ...]]:
    """Encrypt the personal values of several deliveries and write one vault file per delivery.

    The result has one item per delivery: a tuple with the vault file, or an empty tuple if the delivery has nothing to
    write. The keys of all deliveries are read together, to save queries to the key store.

    Erased persons are never written. If the number is the only value that identifies persons in a delivery, persons who
    are already in the vault are not written again. A person is in the vault if a receipt names the vault file for which
    the person's key was made. The key alone does not prove this, because a crash may have prevented the receipt.
    """
    columns: dict[tuple[str, PersonColumn], list[pl.DataFrame]] = {}
    for index, delivery in enumerate(personal_values):
        for person, rows in delivery.persons:
            columns.setdefault((delivery.layout.name, person), []).append(rows.with_columns(delivery=pl.lit(index)))
    paths = [str(delivery.path) for delivery in personal_values]
    sealed = [
        _sealed(pl.concat(rows), paths, person, source, context, known_rows) for (_, person), rows in columns.items()
    ]
    if not sealed:
        return [()] * len(personal_values)
    files = pl.concat(sealed).partition_by("delivery", as_dict=True, include_key=False)
    return [
        _write_file(delivery, files[index,], context) if (index,) in files else ()
        for index, delivery in enumerate(personal_values)
    ]


def _sealed(
    personal_values: pl.DataFrame,
    paths: list[str],
    person: PersonColumn,
    source: Source,
    context: IngestContext,
    known_rows: KnownRows,
) -> pl.DataFrame:
    """Encrypt the values of the persons in one column.

    Return a frame with one row per delivery and person. Its columns are `delivery` (the index of the delivery in
    `paths`), `pseudonym` and `sealed` (the encrypted values). Persons who must not be written are left out; see
    `write_vault`.
    """
    only_number = person.identifying == (person.column,)
    if only_number:  # the person's further deliveries add nothing
        personal_values = personal_values.unique("value", keep="first", maintain_order=True)
    pseudonyms = context.keys.pseudonyms(personal_values["value"], person.domain)
    rows = personal_values.join(pseudonyms, on="value").drop("value")
    keys: dict[str, bytes] = {}
    for batch in rows.select("pseudonym", "delivery").iter_slices(_KEYS_AT_ONCE):
        vault_files = {pseudonym: paths[delivery] for pseudonym, delivery in batch.iter_rows()}
        in_vault = (lambda path: known_rows.has_file(VAULT, path)) if only_number else None
        keys |= context.key_store.person_keys(source.name, vault_files, in_vault)
    sealed = [
        seal(keys[pseudonym], f"[{values}]".encode(), _context(source.name, pseudonym)) if pseudonym in keys else None
        for values, pseudonym in rows.select("row", "pseudonym").iter_rows()
    ]
    return rows.select("delivery", "pseudonym", pl.Series("sealed", sealed, dtype=pl.Binary)).drop_nulls()


def _write_file(personal_values: PersonalValues, sealed: pl.DataFrame, context: IngestContext) -> tuple[LakeFile, ...]:
    frame = sealed.with_columns(layout=pl.lit(personal_values.layout.name)).sort("pseudonym")
    digest = write_parquet(frame, context.lake / personal_values.path, flushed=False)
    return (LakeFile(VAULT, str(personal_values.path), digest, frame.height),)


def read_person(context: IngestContext, source: str, pseudonym: str) -> list[Kept]:
    """Return all vault records of a borrower, with the oldest delivery first.

    Raises:
        KeyDestroyedError: if the borrower was erased, or if the key store does not know the borrower.
        LakeCorruptionError: if a file of the vault is missing or was changed.
    """
    key = context.key_store.person_key(source, pseudonym)
    records = []
    for receipt in context.book.all(source):
        for item in receipt.files:
            if item.table == VAULT:
                rows = pl.scan_parquet(verified(context.lake, item)).filter(pl.col("pseudonym") == pseudonym).collect()
                for layout, sealed in rows.select("layout", "sealed").iter_rows():
                    values = json.loads(unseal(key, sealed, _context(source, pseudonym)))
                    records.append(Kept(receipt.delivery_id, layout, tuple(values)))
    return records


def read_payer(context: IngestContext, source: Source, pseudonyms: Collection[str]) -> list[Kept]:
    """Return the values of a payer in all accepted rows, read from the originals, with the oldest delivery first.

    `pseudonyms` contains the payer's pseudonyms. If the current contract cannot read an original, the result for it
    contains only the payer's number. Originals that an erasure destroyed are skipped. Missing originals are skipped as
    well, because after a restore from a backup that is older than an erasure, the rewritten originals are missing.

    Raises:
        LakeCorruptionError: if an original is damaged.
    """
    records: list[Kept] = []
    for receipt in context.book.all(source.name):
        lines = [pl.Series(LINE_NO, dtype=pl.Int64)]
        for item in receipt.files:
            if PAYER in CANONICAL.get(item.table, {}):
                is_theirs = pl.col(PAYER).is_in(list(pseudonyms)) & (pl.col("delivery_id") == receipt.delivery_id)
                rows = pl.scan_parquet(context.lake / item.path).filter(is_theirs)
                lines.append(rows.select(LINE_NO).collect().to_series())
        theirs = pl.concat(lines).unique().sort()
        if theirs.len():
            with contextlib.suppress(KeyDestroyedError, OriginalMissingError):
                content = open_original(context, source.name, receipt.sha256)
                search = PersonSearch(frozenset(pseudonyms))
                layout, values = _payer_in(content, receipt.file_name, theirs, context, source, search)
                records += [Kept(receipt.delivery_id, layout, tuple(values))] if values else []
    return records


def _payer_in(
    content: bytes, name: str, lines: pl.Series, context: IngestContext, source: Source, search: PersonSearch
) -> tuple[str, list[dict[str, str | None]]]:
    """Return the name of an original's layout, and the values of the searched payers in the given lines.

    If the current contract cannot read the values, return NOT_READ and only the numbers of the payers.

    Args:
        content: the decrypted content of the original.
        name: the file name of the delivery, which determines the layout.
        lines: the numbers of the lines to search.
        context: the lake and the keys.
        source: the source of the delivery.
        search: the pseudonyms of the payers.
    """
    layout = source.contract.layout_of(name)
    payers = [person for person in persons_of(layout, source) if not person.is_borrower] if layout else []
    values: list[dict[str, str | None]] = []
    with contextlib.suppress(DeliveryRefusedError):
        if layout and payers:
            text = read_records(content, layout).text.filter(pl.col(LINE_NO).is_in(lines.implode()))
            for payer in payers:
                numbered = text.with_columns(number(payer, layout).alias("_number"))
                payer_pseudonyms = context.keys.pseudonyms(numbered["_number"], payer.domain)
                theirs = payer_pseudonyms.filter(pl.col("pseudonym").is_in(list(search.pseudonyms)))
                rows = numbered.filter(pl.col("_number").is_in(theirs["value"].implode()))
                values += rows.select(payer.identifying).unique(maintain_order=True).to_dicts()
    if layout and values:
        return layout.name, values
    raw = raw_lines(content)
    numbers = set().union(*numbers_in([raw[n - 1] for n in lines], source, context.keys, search))
    return NOT_READ, [{PAYER: number} for number in sorted(numbers)]


def _context(source: str, pseudonym: str) -> str:
    return f"vault:{source}:{pseudonym}"
