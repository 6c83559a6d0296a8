"""Code that compares delivered rows with the lake, to find new rows, duplicates, conflicts and new versions.

The keys of each raw table are indexed by hash. If all delivered keys are new, only the index is read. Otherwise, rows
are read from the lake files that may contain one of the keys. Tables of persons are not compared, because a person is
delivered again with each new loan.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
import polars as pl

from dagster_project.ingestion.contracts.canonical import PERSONS, SUPERSEDED, raw_schema
from dagster_project.ingestion.contracts.contract import Contract
from dagster_project.ingestion.lake.files import verified
from dagster_project.ingestion.lake.key_index import Hashes, KeyPlaces, merge_runs
from dagster_project.ingestion.lake.receipts import LakeFile, Receipt
from dagster_project.ingestion.parsing.key_hash import key_hash
from dagster_project.ingestion.parsing.records import LINE_NO

# Sorted hashes of the keys of a delivery's rows, by raw table.
KeysOf = Mapping[str, Hashes]
# The columns that identify a stored row, and the suffix of its content columns when joined to a delivered row.
_STORED_ROW = ["table_name", "old_delivery_id", "old_line_no"]
_STORED = "_stored"


@dataclass(frozen=True)
class KeyMatches:
    """The lines of a delivery whose rows have the same key as rows in the lake, grouped by outcome.

    Attributes:
        duplicates: the `line_no` of each line whose rows are all in the lake with the same content.
        conflicts: the lines whose rows have the key of a row in the lake, but different content. The columns are
            `line_no`, `message`, and `against_delivery_id` and `against_line_no`, which identify the row in the lake.
        superseded: rows for the canonical table `superseded`, which record the row versions that corrections replace.
    """

    duplicates: pl.DataFrame
    conflicts: pl.DataFrame
    superseded: pl.DataFrame


def keys_of(tables: Mapping[str, pl.DataFrame], contract: Contract) -> dict[str, Hashes]:
    """Return the sorted hashes of the keys in a delivery's canonical tables, by table.

    Empty tables are left out. So are tables of persons, because their keys may repeat.
    """
    return {
        name: np.sort(rows.select(key_hash(list(contract.table(name).key))).to_series().to_numpy())
        for name, rows in tables.items()
        if name not in PERSONS and rows.height
    }


class KnownRows:
    """The rows of one source that are in the lake, for comparison with delivered rows during an intake.

    A row is in the lake if a receipt names its file. While one thread adds deliveries, other threads may call
    `before_opening`, but no other method.
    """

    def __init__(self, contract: Contract, lake: Path, receipts: Iterable[Receipt]) -> None:
        self._contract, self._lake = contract, lake
        self._files: dict[str, dict[str, LakeFile]] = {}
        self._places: dict[str, KeyPlaces] = {}
        self._openings: tuple[Hashes, pl.DataFrame] | None = None
        self._lock = Lock()
        self.note(receipts)

    def may_contain(self, deliveries: Iterable[KeysOf]) -> bool:
        """Return whether a key of these deliveries may be in the lake already, or may occur twice among them."""
        by_table: dict[str, list[Hashes]] = {}
        for keys in deliveries:
            for table, hashes in keys.items():
                by_table.setdefault(table, []).append(hashes)
        for table, parts in by_table.items():
            hashes = merge_runs(parts) if len(parts) > 1 else parts[0]
            if (hashes[1:] == hashes[:-1]).any() or self._key_places(table).contains_any(hashes):
                return True
        return False

    def add(self, taken: Sequence[tuple[Receipt, KeysOf]]) -> None:
        """Add deliveries to the known rows and to the indexes of keys.

        Each item of `taken` is the receipt of a delivery and the hashes of its keys. The receipts need not be committed
        yet.
        """
        by_table: dict[str, list[tuple[str, Hashes]]] = {}
        for receipt, keys in taken:
            for file in receipt.files:
                if file.table in keys:
                    by_table.setdefault(file.table, []).append((file.path, keys[file.table]))
        for table, files in by_table.items():
            self._key_places(table).add(files)
        self.note(receipt for receipt, _ in taken)

    def save(self) -> None:
        """Store the indexes on disk for the next intake.

        Call this only after all deliveries that were added have been committed.
        """
        for places in self._places.values():
            places.save()

    def before_opening(self, payments: pl.DataFrame) -> pl.DataFrame:
        """Return the `line_no` of each payment that is dated before its loan was opened.

        Payments for loans that are not in the lake, or that have no opening date, are not checked.
        """
        with self._lock:  # threads read files in parallel; the first thread reads the openings
            if self._openings is None:
                self._openings = self._read_openings()
            hashes, loans = self._openings
        last = loans["opened_on"].max()
        if last is None or not (payments["paid_on"] < last).any():
            return _lines(payments.clear())
        early = payments.filter(pl.col("paid_on") < last)
        wanted = early["loan_id"].hash(seed=1).to_numpy()
        position = np.minimum(np.searchsorted(hashes, wanted), len(hashes) - 1)
        opened = loans["opened_on"].gather(position)
        suspects = early.filter(pl.Series(hashes[position] == wanted) & (pl.Series(early["paid_on"]) < opened))
        return _lines(suspects.join(loans, on="loan_id").filter(pl.col("paid_on") < pl.col("opened_on")))

    def match(self, tables: Mapping[str, pl.DataFrame]) -> KeyMatches:
        """Return the lines of a delivery whose keys are already in the lake, grouped by outcome.

        `tables` has the canonical tables of the delivery, by name.

        Raises:
            LakeCorruptionError: a lake file that may contain one of the keys is missing or does not match its receipt.
        """
        compared = [self._compare(name, frame) for name, frame in tables.items() if name not in PERSONS]
        if not compared:
            return NO_MATCHES
        versions = pl.concat(compared)
        rows = versions.unique(["table_name", LINE_NO, "row"], keep="first", maintain_order=True)
        is_match = pl.col("old_line_no").is_not_null()
        lines = rows.group_by(LINE_NO).agg(
            is_match.any().alias("has_match"),
            (is_match & pl.col("is_same")).all().alias("is_same"),
            (pl.col("is_correctable") | ~is_match).all().alias("is_correction"),
        )
        changed = lines.filter(pl.col("has_match") & ~pl.col("is_same"))
        conflicting, corrected = changed.filter(~pl.col("is_correction")), changed.filter(pl.col("is_correction"))
        first = rows.filter(is_match).sort("is_same", "table_name").unique(LINE_NO, keep="first")
        return KeyMatches(
            lines.filter("is_same").select(LINE_NO).sort(LINE_NO),
            first.join(conflicting, on=LINE_NO, how="semi")
            .sort(LINE_NO)
            .select(
                LINE_NO,
                pl.format("an accepted row has the same {} and different content", "key").alias("message"),
                pl.col("old_delivery_id").alias("against_delivery_id"),
                pl.col("old_line_no").alias("against_line_no"),
            ),
            _superseded(versions.filter(is_match).join(corrected, on=LINE_NO, how="semi")),
        )

    def note(self, receipts: Iterable[Receipt]) -> None:
        """Add the files that these receipts name to the known files, without reading them."""
        with self._lock:  # one batch is committed while another one is read
            for file in (file for receipt in receipts for file in receipt.files):
                self._files.setdefault(file.table, {})[file.path] = file
                if file.table in ("loans", SUPERSEDED):
                    self._openings = None

    def has_file(self, table: str, path: str) -> bool:
        """Return whether a receipt names this file.

        `path` is relative to the folder of the lake.
        """
        return path in self._files.get(table, {})

    def _key_places(self, name: str) -> KeyPlaces:
        """Return the index of the keys of a table, after adding the files that it lacks.

        The index then covers all files of this table that the receipts name.
        """
        if name not in self._places:
            files = self._files.get(name, {})
            folder, key = self._lake / "keys" / self._contract.source / name, list(self._contract.table(name).key)
            places = KeyPlaces(folder, key, files)
            indexed = set(places.files)
            places.add((path, self._hashes(file, key)) for path, file in files.items() if path not in indexed)
            self._places[name] = places
        return self._places[name]

    def _hashes(self, file: LakeFile, key: list[str]) -> Hashes:
        rows = pl.read_parquet(verified(self._lake, file), columns=key)
        return np.sort(rows.select(key_hash(key)).to_series().to_numpy())

    def _compare(self, name: str, rows: pl.DataFrame) -> pl.DataFrame:
        """Join each row of one table with all its stored versions.

        A row whose key is new is joined with nulls. The versions of each row are sorted so that the version to compare
        the row with comes first. This is a version with the same content and `known_at`, or else the newest version.
        """
        table = self._contract.table(name)
        key, content = list(table.key), [c for c in table.schema if c not in table.key]
        stored = self._stored_rows(name, rows.select(key), content)
        pairs = rows.with_row_index("row").join(stored, on=key, how="left", nulls_equal=True, suffix=_STORED)
        is_same = pl.all_horizontal(pl.lit(value=True), *(pl.col(c).eq_missing(pl.col(c + _STORED)) for c in content))
        is_repeat = is_same & (pl.col("known_at") == pl.col("old_known_at"))
        return (
            pairs.with_columns(
                is_same.alias("is_same"),
                is_repeat.fill_null(value=False).alias("is_repeat"),
                pl.col("is_newest").fill_null(value=False),  # the sort would put nulls first
                pl.lit(name).alias("table_name"),
                pl.lit(", ".join(key)).alias("key"),
                pl.lit(table.corrections).alias("is_correctable"),
            )
            .sort("row", "is_repeat", "is_newest", descending=[False, True, True])
            .select(_COMPARED)
        )

    def _stored_rows(self, name: str, keys: pl.DataFrame, content: list[str]) -> pl.DataFrame:
        """Return all versions of the rows in the lake that have one of these keys.

        The column `is_newest` is True for versions that no other version supersedes, and null for the others. The
        columns for lineage have the prefix `old_`.
        """
        hashes = np.sort(keys.select(key_hash(keys.columns)).to_series().to_numpy())
        files = [self._files[name][path] for path in sorted(self._key_places(name).files_with(hashes))]
        lineage = [pl.col(c).alias(f"old_{c}") for c in ("delivery_id", LINE_NO, "known_at", "event_on")]
        empty = pl.LazyFrame(schema=raw_schema(name)).select(*keys.columns, *content, *lineage)
        parts = [
            pl.scan_parquet(verified(self._lake, file))
            .select(*keys.columns, *content, *lineage)
            .join(keys.lazy(), on=keys.columns, how="semi", nulls_equal=True)
            for file in files
        ]
        rows = pl.concat([empty, *parts]).collect().with_columns(pl.lit(name).alias("table_name"))
        newest = rows.join(self._superseded(), on=_STORED_ROW, how="anti").select(_STORED_ROW)
        newest = newest.with_columns(pl.lit(value=True).alias("is_newest"))
        return rows.join(newest, on=_STORED_ROW, how="left").drop("table_name")

    def _superseded(self) -> pl.DataFrame:
        """Return the stored row versions that a newer version supersedes, in the columns of `_STORED_ROW`."""
        parts = [pl.read_parquet(verified(self._lake, f)) for f in self._files.get(SUPERSEDED, {}).values()]
        return pl.concat([pl.DataFrame(schema=raw_schema(SUPERSEDED)), *parts]).select(_STORED_ROW)

    def _read_openings(self) -> tuple[Hashes, pl.DataFrame]:
        """Return the opening dates of the loans in the lake, for a binary search by hash.

        Returns the sorted hashes of the loan numbers, and a frame with loan_id and opened_on in the same order. Loans
        without an opening date and superseded versions are left out.
        """
        columns = ["loan_id", "opened_on", "delivery_id", LINE_NO]
        empty = pl.DataFrame(schema=raw_schema("loans")).select(columns)
        parts = [
            pl.read_parquet(verified(self._lake, f), columns=columns) for f in self._files.get("loans", {}).values()
        ]
        loans = pl.concat([empty, *parts]).drop_nulls("opened_on")
        stored = {"old_delivery_id": pl.col("delivery_id"), "old_line_no": pl.col(LINE_NO)}
        newest = loans.with_columns(pl.lit("loans").alias("table_name"), **stored).join(
            self._superseded(), on=_STORED_ROW, how="anti"
        )
        by_hash = newest.select("loan_id", "opened_on", pl.col("loan_id").hash(seed=1).alias("hash")).sort("hash")
        return by_hash["hash"].to_numpy(), by_hash.drop("hash")


_COMPARED = [
    "row",
    *(LINE_NO, "source", "delivery_id", "event_on", "known_at", "ingested_at"),
    *("old_delivery_id", "old_line_no", "old_known_at", "old_event_on"),
    *("is_same", "table_name", "key", "is_correctable"),
]


def _superseded(matched: pl.DataFrame) -> pl.DataFrame:
    """Build the rows of the canonical table `superseded` for corrections.

    Of two versions of a row, the one that was known later supersedes the other. If both were known on the same day, the
    delivered version supersedes the stored version.

    A version is valid until the first day on which a later version was known, but versions may be delivered in any
    order. A delivered row is therefore paired with all stored versions, and not only with the newest.
    """
    is_newer = pl.col("known_at") >= pl.col("old_known_at")
    return matched.select(
        "table_name",
        pl.when(is_newer).then("old_delivery_id").otherwise("delivery_id").alias("old_delivery_id"),
        pl.when(is_newer).then("old_line_no").otherwise(LINE_NO).alias("old_line_no"),
        "source",
        pl.when(is_newer).then("delivery_id").otherwise("old_delivery_id").alias("delivery_id"),
        pl.when(is_newer).then(LINE_NO).otherwise("old_line_no").alias(LINE_NO),
        pl.when(is_newer).then("event_on").otherwise("old_event_on").alias("event_on"),
        pl.when(is_newer).then("known_at").otherwise("old_known_at").alias("known_at"),
        "ingested_at",
    ).match_to_schema(raw_schema(SUPERSEDED))


def _lines(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(LINE_NO).unique().sort(LINE_NO)


NO_MATCHES = KeyMatches(
    pl.DataFrame(schema={LINE_NO: pl.Int64}),
    pl.DataFrame(
        schema={LINE_NO: pl.Int64, "message": pl.String, "against_delivery_id": pl.String, "against_line_no": pl.Int64}
    ),
    pl.DataFrame(schema=raw_schema(SUPERSEDED)),
)
