"""The vault: what identifies persons, as it was delivered, each person's under a data key of their own.

One Parquet file a delivery, named by its receipt: without the receipt it does not count. A row is a person and the
values that the delivery gave of them, sealed; the keys lie in the key store.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from dagster_project.ingestion.border import Border
from dagster_project.ingestion.contracts import Table
from dagster_project.ingestion.keys import seal, unseal
from dagster_project.ingestion.lake import verified, write_parquet
from dagster_project.ingestion.persons import PersonColumn, number, persons_of
from dagster_project.ingestion.receipts import LakeFile, Receipt
from dagster_project.ingestion.source import Source

VAULT = "vault"


@dataclass(frozen=True)
class Kept:
    """What a delivery gave of a person: one value by column for each of their rows that differ."""

    delivery_id: str
    layout: str
    rows: tuple[dict[str, str | None], ...]


def write_vault(
    accepted: pl.DataFrame, layout: Table, source: Source, border: Border, receipt: Receipt, part: str
) -> list[LakeFile]:
    """Seal what the accepted rows of a delivery tell of persons.

    A person who is known and tells no more than their number is not kept again; an erased one never is.

    Args:
        accepted: the columns of the layout as text.
        layout: of the file.
        source: the source.
        border: lake, keys and key store.
        receipt: the delivery.
        part: set apart from what was written of this delivery before.
    """
    parts = [_sealed(accepted, person, layout, source, border) for person in persons_of(layout, source)]
    kept = pl.concat(parts) if parts else pl.DataFrame()
    if kept.is_empty():
        return []
    frame = kept.with_columns(layout=pl.lit(layout.name)).sort("pseudonym")
    path = Path(VAULT) / source.name / f"{receipt.delivery_id}{part}.parquet"
    return [LakeFile(VAULT, str(path), write_parquet(frame, border.lake / path, flushed=False), frame.height)]


def _sealed(
    accepted: pl.DataFrame, person: PersonColumn, layout: Table, source: Source, border: Border
) -> pl.DataFrame:
    """The persons of one column: pseudonym, and their rows as JSON, sealed."""
    told = (
        accepted.filter(pl.col(person.column).is_not_null())
        .select(number(person, layout).alias("value"), pl.struct(person.identifying).alias("row"))
        .unique(maintain_order=True)
        .with_columns(pl.col("row").struct.json_encode())
        .group_by("value", maintain_order=True)
        .agg(pl.col("row").str.join(","))
    )
    named = told.join(border.keys.pseudonyms(told["value"], person.domain), on="value").drop("value")
    number_alone = person.identifying == (person.column,)
    keys = border.key_store.person_keys(source.name, named["pseudonym"].to_list(), only_new=number_alone)
    sealed = [
        seal(keys[pseudonym], f"[{rows}]".encode(), _context(source.name, pseudonym)) if pseudonym in keys else None
        for rows, pseudonym in named.select("row", "pseudonym").iter_rows()
    ]
    return named.select("pseudonym", pl.Series("sealed", sealed, dtype=pl.Binary)).drop_nulls()


def read_person(border: Border, source: str, pseudonym: str) -> list[Kept]:
    """All that the vault holds of a person, oldest delivery first.

    Raises:
        KeyDestroyedError: the person was erased, or is not known.
        LakeCorruptionError: a file of the vault is missing or changed.
    """
    key = border.key_store.person_key(source, pseudonym)
    found = []
    for receipt in border.book.all(source):
        for item in receipt.files:
            if item.table == VAULT:
                rows = pl.scan_parquet(verified(border.lake, item)).filter(pl.col("pseudonym") == pseudonym).collect()
                for layout, sealed in rows.select("layout", "sealed").iter_rows():
                    values = json.loads(unseal(key, sealed, _context(source, pseudonym)))
                    found.append(Kept(receipt.delivery_id, layout, tuple(values)))
    return found


def _context(source: str, pseudonym: str) -> str:
    return f"vault:{source}:{pseudonym}"
