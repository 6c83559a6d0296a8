"""What the lake already has of a source: is a row new, here before, another version of one, or against one.

The keys of each raw table are indexed by hash, so that a delivery of new rows asks the index and nothing else. Only
where a key may be known are rows read, and only of those files that may have it. The rows of persons are left alone:
who comes back with another loan is delivered again.
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
from dagster_project.ingestion.lake.key_index import Hashes, KeyPlaces, together
from dagster_project.ingestion.lake.receipts import LakeFile, Receipt
from dagster_project.ingestion.parsing.key_hash import key_hash
from dagster_project.ingestion.parsing.records import LINE_NO

# Hashes of the keys of a delivery's rows by raw table, sorted.
KeysOf = Mapping[str, Hashes]
_PLACE = ["table_name", "old_delivery_id", "old_line_no"]
_OLD = "_known"


@dataclass(frozen=True)
class KeyMatches:
    """How a delivery's lines stand to the rows that are known.

    `duplicates`: line_no of lines whose rows are all known with the same content. `conflicts`: line_no, message, and
    the accepted line (against_delivery_id, against_line_no) that has the same key and other content. `superseded`: rows
    of that canonical table, for the lines that are taken in as corrections.
    """

    duplicates: pl.DataFrame
    conflicts: pl.DataFrame
    superseded: pl.DataFrame


def keys_of(tables: Mapping[str, pl.DataFrame], contract: Contract) -> dict[str, Hashes]:
    """The hashes of a delivery's keys, of the tables in which a key stands once."""
    return {
        name: np.sort(rows.select(key_hash(list(contract.table(name).key))).to_series().to_numpy())
        for name, rows in tables.items()
        if name not in PERSONS and rows.height
    }


class KnownRows:
    """The rows that a source's receipts name, while its deliveries are taken in.

    One thread adds to it; others ask, meanwhile, for loans' openings alone.
    """

    def __init__(self, contract: Contract, lake: Path, receipts: Iterable[Receipt]) -> None:
        self._contract, self._lake = contract, lake
        self._files: dict[str, dict[str, LakeFile]] = {}
        self._places: dict[str, KeyPlaces] = {}
        self._openings: tuple[Hashes, pl.DataFrame] | None = None
        self._lock = Lock()
        self.note(receipts)

    def may_contain(self, deliveries: Iterable[KeysOf]) -> bool:
        """Whether a key of these deliveries may be known, or stands in two of them."""
        by_table: dict[str, list[Hashes]] = {}
        for keys in deliveries:
            for table, hashes in keys.items():
                by_table.setdefault(table, []).append(hashes)
        for table, parts in by_table.items():
            hashes = together(parts) if len(parts) > 1 else parts[0]
            if (hashes[1:] == hashes[:-1]).any() or self._placed(table).knows_any(hashes):
                return True
        return False

    def add(self, taken: Sequence[tuple[Receipt, KeysOf]]) -> None:
        """Deliveries that were taken in, in order."""
        by_table: dict[str, list[tuple[str, Hashes]]] = {}
        for receipt, keys in taken:
            for file in receipt.files:
                if file.table in keys:
                    by_table.setdefault(file.table, []).append((file.path, keys[file.table]))
        for table, found in by_table.items():
            self._placed(table).add(found)
        self.note(receipt for receipt, _ in taken)

    def save(self) -> None:
        """Keep the indexes for the next time; to be called once all that was added is committed."""
        for places in self._places.values():
            places.save()

    def before_opening(self, payments: pl.DataFrame) -> pl.DataFrame:
        """line_no of payments of a day on which their loan, as it is known, was not open yet."""
        with self._lock:  # files are read side by side, and one of them is the first to ask
            if self._openings is None:
                self._openings = self._read_openings()
            hashes, loans = self._openings
        last = loans["opened_on"].max()
        if last is None or not (payments["paid_on"] < last).any():
            return _lines(payments.clear())
        early = payments.filter(pl.col("paid_on") < last)
        asked = early["loan_id"].hash(seed=1).to_numpy()
        place = np.minimum(np.searchsorted(hashes, asked), len(hashes) - 1)
        opened = loans["opened_on"].gather(place)
        suspects = early.filter(pl.Series(hashes[place] == asked) & (pl.Series(early["paid_on"]) < opened))
        return _lines(suspects.join(loans, on="loan_id").filter(pl.col("paid_on") < pl.col("opened_on")))

    def match(self, tables: Mapping[str, pl.DataFrame]) -> KeyMatches:
        """Compare a delivery's rows, in the canonical shape, with those that are known.

        Raises:
            LakeCorruptionError: a file that may have a key is not what its receipt says.
        """
        compared = [self._compare(name, frame) for name, frame in tables.items() if name not in PERSONS]
        if not compared:
            return NO_MATCHES
        versions = pl.concat(compared)
        rows = versions.unique(["table_name", LINE_NO, "row"], keep="first", maintain_order=True)
        is_match = pl.col("old_line_no").is_not_null()
        lines = rows.group_by(LINE_NO).agg(
            is_match.any().alias("met"),
            (is_match & pl.col("same")).all().alias("same"),
            (pl.col("corrects") | ~is_match).all().alias("corrects"),
        )
        changed = lines.filter(pl.col("met") & ~pl.col("same"))
        against, corrected = changed.filter(~pl.col("corrects")), changed.filter(pl.col("corrects"))
        matched = rows.filter(is_match)
        first = matched.sort("same", "table_name").unique(LINE_NO, keep="first")
        return KeyMatches(
            lines.filter("same").select(LINE_NO).sort(LINE_NO),
            first.join(against, on=LINE_NO, how="semi")
            .sort(LINE_NO)
            .select(
                LINE_NO,
                pl.format("an accepted row has the same {} and other content", "key").alias("message"),
                pl.col("old_delivery_id").alias("against_delivery_id"),
                pl.col("old_line_no").alias("against_line_no"),
            ),
            _superseded(versions.filter(is_match).join(corrected, on=LINE_NO, how="semi")),
        )

    def note(self, receipts: Iterable[Receipt]) -> None:
        """The files that receipts name; nothing is read of them."""
        with self._lock:  # one batch is committed while another is read
            for file in (file for receipt in receipts for file in receipt.files):
                self._files.setdefault(file.table, {})[file.path] = file
                if file.table in ("loans", SUPERSEDED):
                    self._openings = None

    def has_file(self, table: str, path: str) -> bool:
        """Whether a receipt names this file."""
        return path in self._files.get(table, {})

    def _placed(self, name: str) -> KeyPlaces:
        """The index of a table's keys, brought up to what the receipts name."""
        if name not in self._places:
            files = self._files.get(name, {})
            folder, key = self._lake / "keys" / self._contract.source / name, list(self._contract.table(name).key)
            places = KeyPlaces(folder, key, files)
            had = set(places.files)
            places.add((path, self._hashes(file, key)) for path, file in files.items() if path not in had)
            self._places[name] = places
        return self._places[name]

    def _hashes(self, file: LakeFile, key: list[str]) -> Hashes:
        rows = pl.read_parquet(verified(self._lake, file), columns=key)
        return np.sort(rows.select(key_hash(key)).to_series().to_numpy())

    def _compare(self, name: str, rows: pl.DataFrame) -> pl.DataFrame:
        """Each row of one table beside each known version of it; a row of a new key stands beside none.

        First comes the version that it is compared with: the newest, or the one that this row is once more.
        """
        table = self._contract.table(name)
        key, content = list(table.key), [c for c in table.schema if c not in table.key]
        old = self._rows_with(name, rows.select(key), content)
        beside = rows.with_row_index("row").join(old, on=key, how="left", nulls_equal=True, suffix=_OLD)
        same = pl.all_horizontal(pl.lit(value=True), *(pl.col(c).eq_missing(pl.col(c + _OLD)) for c in content))
        again = same & (pl.col("known_at") == pl.col("old_known_at"))
        return (
            beside.with_columns(
                same.alias("same"),
                again.fill_null(value=False).alias("again"),
                pl.col("is_newest").fill_null(value=False),  # a sort puts nulls first
                pl.lit(name).alias("table_name"),
                pl.lit(", ".join(key)).alias("key"),
                pl.lit(table.corrections).alias("corrects"),
            )
            .sort("row", "again", "is_newest", descending=[False, True, True])
            .select(_COMPARED)
        )

    def _rows_with(self, name: str, keys: pl.DataFrame, content: list[str]) -> pl.DataFrame:
        """The known rows that have one of these keys, in all versions."""
        hashes = np.sort(keys.select(key_hash(keys.columns)).to_series().to_numpy())
        files = [self._files[name][path] for path in sorted(self._placed(name).places(hashes))]
        lineage = [pl.col(c).alias(f"old_{c}") for c in ("delivery_id", LINE_NO, "known_at", "event_on")]
        kinds = raw_schema(name)
        nothing = pl.LazyFrame(schema=kinds).select(*keys.columns, *content, *lineage)
        found = [
            pl.scan_parquet(verified(self._lake, file))
            .select(*keys.columns, *content, *lineage)
            .join(keys.lazy(), on=keys.columns, how="semi", nulls_equal=True)
            for file in files
        ]
        rows = pl.concat([nothing, *found]).collect().with_columns(pl.lit(name).alias("table_name"))
        newest = rows.join(self._superseded(), on=_PLACE, how="anti").select(_PLACE)
        return rows.join(newest.with_columns(pl.lit(value=True).alias("is_newest")), on=_PLACE, how="left").drop(
            "table_name"
        )

    def _superseded(self) -> pl.DataFrame:
        """Places of the rows that are no longer the newest version of theirs."""
        parts = [pl.read_parquet(verified(self._lake, f)) for f in self._files.get(SUPERSEDED, {}).values()]
        return pl.concat([pl.DataFrame(schema=raw_schema(SUPERSEDED)), *parts]).select(_PLACE)

    def _read_openings(self) -> tuple[Hashes, pl.DataFrame]:
        """Loans and their days of opening, in the order of their numbers' hashes; and these."""
        columns = ["loan_id", "opened_on", "delivery_id", LINE_NO]
        nothing = pl.DataFrame(schema=raw_schema("loans")).select(columns)
        parts = [
            pl.read_parquet(verified(self._lake, f), columns=columns) for f in self._files.get("loans", {}).values()
        ]
        loans = pl.concat([nothing, *parts]).drop_nulls("opened_on")
        place = {"old_delivery_id": pl.col("delivery_id"), "old_line_no": pl.col(LINE_NO)}
        newest = loans.with_columns(pl.lit("loans").alias("table_name"), **place).join(
            self._superseded(), on=_PLACE, how="anti"
        )
        by_hash = newest.select("loan_id", "opened_on", pl.col("loan_id").hash(seed=1).alias("hash")).sort("hash")
        return by_hash["hash"].to_numpy(), by_hash.drop("hash")


_COMPARED = [
    "row",
    *(LINE_NO, "source", "delivery_id", "event_on", "known_at", "ingested_at"),
    *("old_delivery_id", "old_line_no", "old_known_at", "old_event_on"),
    *("same", "table_name", "key", "corrects"),
]


def _superseded(matched: pl.DataFrame) -> pl.DataFrame:
    """Which of two versions the other replaces: the one that was known first, in whatever order they came.

    A row is noted with each known version, and not with the newest alone: until when a version counted is the first day
    on which a later one was known, and that one may arrive last.
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
