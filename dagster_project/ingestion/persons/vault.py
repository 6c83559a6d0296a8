"""The vault: what identifies borrowers, as it was delivered, each borrower's under a data key of their own.

One Parquet file a delivery, named by its receipt: without the receipt it does not count. A row is a borrower and the
values that the delivery gave of them, sealed; the keys lie in the key store. What was told of a payer is kept no second
time: it stands in the encrypted original, where the row with the pseudonym says.
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
from dagster_project.ingestion.persons.identity import PersonColumn, Sought, number, numbers_in, persons_of
from dagster_project.ingestion.persons.originals import OriginalMissingError, open_original
from dagster_project.keys.master import seal, unseal
from dagster_project.keys.store import KeyDestroyedError

VAULT = "vault"
NOT_READ = "no layout reads it now"  # in the place of a layout's name
_KEYS_AT_ONCE = 250_000  # others wait for the key store so long


@dataclass(frozen=True)
class Kept:
    """What a delivery gave of a person: one value by column for each of their rows that differ."""

    delivery_id: str
    layout: str
    rows: tuple[dict[str, str | None], ...]


@dataclass(frozen=True)
class PersonalValues:
    """What the accepted rows of a delivery tell of borrowers, not sealed yet.

    `path`: of the file to be, in the lake. `persons`: for each column of borrowers' numbers that is given `value`, the
    number, and `row`, what identifies them as JSON; a row a number.
    """

    layout: Table
    path: Path
    persons: tuple[tuple[PersonColumn, pl.DataFrame], ...]

    @property
    def height(self) -> int:
        """How many persons."""
        return sum(rows.height for _, rows in self.persons)


def personal_values_of(
    text: pl.DataFrame, good: pl.DataFrame, layout: Table, source: Source, name: str
) -> PersonalValues | None:
    """What the accepted rows of a delivery tell of borrowers; None where they tell nothing.

    Args:
        text: the delivery's records, each column as text.
        good: line_no of those that are accepted.
        layout: of the delivery.
        source: its source.
        name: of the delivery's files.
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
    """Seal what deliveries tell of persons: of each one file, or none. They share their looks at the key store.

    A person who is in the vault and of whom no more than the number is told is not kept again; an erased one never is.
    In the vault is who was told of by a file that a receipt names: a crash may have left a key and no receipt.
    """
    columns: dict[tuple[str, PersonColumn], list[pl.DataFrame]] = {}
    for place, of_one in enumerate(personal_values):
        for person, rows in of_one.persons:
            columns.setdefault((of_one.layout.name, person), []).append(rows.with_columns(place=pl.lit(place)))
    paths = [str(of_one.path) for of_one in personal_values]
    sealed = [
        _sealed(pl.concat(rows), paths, person, source, context, known_rows) for (_, person), rows in columns.items()
    ]
    if not sealed:
        return [()] * len(personal_values)
    files = pl.concat(sealed).partition_by("place", as_dict=True, include_key=False)
    return [
        _written(of_one, files[place,], context) if (place,) in files else ()
        for place, of_one in enumerate(personal_values)
    ]


def _sealed(
    personal_values: pl.DataFrame,
    paths: list[str],
    person: PersonColumn,
    source: Source,
    context: IngestContext,
    known_rows: KnownRows,
) -> pl.DataFrame:
    """The persons of one column: place of the delivery, pseudonym, and their rows in it, sealed."""
    number_alone = person.identifying == (person.column,)
    if number_alone:  # the second delivery tells nothing new
        personal_values = personal_values.unique("value", keep="first", maintain_order=True)
    named = personal_values.join(context.keys.pseudonyms(personal_values["value"], person.domain), on="value").drop(
        "value"
    )
    keys: dict[str, bytes] = {}
    for some in named.select("pseudonym", "place").iter_slices(_KEYS_AT_ONCE):
        told_by = {pseudonym: paths[place] for pseudonym, place in some.iter_rows()}
        in_vault = (lambda path: known_rows.has_file(VAULT, path)) if number_alone else None
        keys |= context.key_store.person_keys(source.name, told_by, in_vault)
    sealed = [
        seal(keys[pseudonym], f"[{rows}]".encode(), _context(source.name, pseudonym)) if pseudonym in keys else None
        for rows, pseudonym in named.select("row", "pseudonym").iter_rows()
    ]
    return named.select("place", "pseudonym", pl.Series("sealed", sealed, dtype=pl.Binary)).drop_nulls()


def _written(personal_values: PersonalValues, sealed: pl.DataFrame, context: IngestContext) -> tuple[LakeFile, ...]:
    frame = sealed.with_columns(layout=pl.lit(personal_values.layout.name)).sort("pseudonym")
    digest = write_parquet(frame, context.lake / personal_values.path, flushed=False)
    return (LakeFile(VAULT, str(personal_values.path), digest, frame.height),)


def read_person(context: IngestContext, source: str, pseudonym: str) -> list[Kept]:
    """All that the vault holds of a borrower, oldest delivery first.

    Raises:
        KeyDestroyedError: the borrower was erased, or is not known.
        LakeCorruptionError: a file of the vault is missing or changed.
    """
    key = context.key_store.person_key(source, pseudonym)
    found = []
    for receipt in context.book.all(source):
        for item in receipt.files:
            if item.table == VAULT:
                rows = pl.scan_parquet(verified(context.lake, item)).filter(pl.col("pseudonym") == pseudonym).collect()
                for layout, sealed in rows.select("layout", "sealed").iter_rows():
                    values = json.loads(unseal(key, sealed, _context(source, pseudonym)))
                    found.append(Kept(receipt.delivery_id, layout, tuple(values)))
    return found


def read_payer(context: IngestContext, source: Source, pseudonyms: Collection[str]) -> list[Kept]:
    """All that accepted rows told of a payer, from the originals of their deliveries, oldest first.

    Where the contract has changed since, so that an original is no longer read by it, the number alone is told. An
    original that an erasure wrote anew, or whose key it destroyed, tells nothing of the person any more, and neither
    does one that is missing since a backup from before that erasure was restored.

    Raises:
        LakeCorruptionError: an original is damaged.
    """
    found: list[Kept] = []
    for receipt in context.book.all(source.name):
        lines = [pl.Series(LINE_NO, dtype=pl.Int64)]
        for item in receipt.files:
            if PAYER in CANONICAL.get(item.table, {}):
                rows = pl.scan_parquet(context.lake / item.path).filter(pl.col(PAYER).is_in(list(pseudonyms)))
                lines.append(rows.select(LINE_NO).collect().to_series())
        theirs = pl.concat(lines).unique().sort()
        if theirs.len():
            with contextlib.suppress(KeyDestroyedError, OriginalMissingError):
                content = open_original(context, source.name, receipt.sha256)
                layout, personal_values = _payer_in(
                    content, receipt.file_name, theirs, context, source, Sought(frozenset(pseudonyms))
                )
                found += [Kept(receipt.delivery_id, layout, tuple(personal_values))] if personal_values else []
    return found


def _payer_in(
    content: bytes, name: str, lines: pl.Series, context: IngestContext, source: Source, sought: Sought
) -> tuple[str, list[dict[str, str | None]]]:
    """The layout of an original, and what these of its lines tell of a payer who is sought."""
    layout = source.contract.layout_of(name)
    payers = [person for person in persons_of(layout, source) if not person.is_borrower] if layout else []
    personal_values: list[dict[str, str | None]] = []
    with contextlib.suppress(DeliveryRefusedError):
        if layout and payers:
            text = read_records(content, layout).text.filter(pl.col(LINE_NO).is_in(lines.implode()))
            for payer in payers:
                numbered = text.with_columns(number(payer, layout).alias("_number"))
                known_rows = context.keys.pseudonyms(numbered["_number"], payer.domain)
                theirs = known_rows.filter(pl.col("pseudonym").is_in(list(sought.pseudonyms)))
                rows = numbered.filter(pl.col("_number").is_in(theirs["value"].implode()))
                personal_values += rows.select(payer.identifying).unique(maintain_order=True).to_dicts()
    if layout and personal_values:
        return layout.name, personal_values
    raw = raw_lines(content)
    numbers = set().union(*numbers_in([raw[n - 1] for n in lines], source, context.keys, sought))
    return NOT_READ, [{PAYER: number} for number in sorted(numbers)]


def _context(source: str, pseudonym: str) -> str:
    return f"vault:{source}:{pseudonym}"
