"""Tests of lake files: which files a night reads, how damage is detected, and how unfinished files are removed."""

import polars as pl
import pytest

from dagster_project.ingestion.contracts.canonical import raw_schema
from dagster_project.ingestion.lake.files import LakeCorruptionError, select, sweep
from support.cards import CARDS


def chosen(context, tmp_path, receipts):
    select(context.lake, tmp_path / "selection", CARDS.name, receipts)
    return {
        t.name: pl.read_parquet(tmp_path / "selection" / CARDS.name / t.name / "*.parquet")
        for t in CARDS.contract.tables
    }


def test_selection_holds_what_receipts_name_and_no_orphan(lake, tmp_path):
    orphan = lake.lake / "raw" / CARDS.name / "loans" / "0000000000000000.parquet"
    orphan.write_bytes(next((lake.lake / "raw" / CARDS.name / "loans").glob("*.parquet")).read_bytes())
    tables = chosen(lake, tmp_path, lake.book.all())
    assert tables["loans"].height == 2
    assert tables["statements"].height == 12


def test_absent_source_is_an_empty_table_with_the_contracts_schema(lake, tmp_path):
    tables = chosen(lake, tmp_path, [])
    for table in CARDS.contract.tables:
        assert tables[table.name].is_empty()
        assert dict(tables[table.name].schema) == raw_schema(table.name)


@pytest.mark.parametrize("where", [0.1, 0.5, 0.9])
def test_one_flipped_byte_is_caught_before_use(lake, tmp_path, where):
    (receipt,) = lake.book.all()
    path = lake.lake / next(f.path for f in receipt.files if f.table == "payments")
    content = bytearray(path.read_bytes())
    content[int(where * len(content))] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(LakeCorruptionError, match="payments"):
        chosen(lake, tmp_path, [receipt])


def test_sweep_removes_what_a_crash_left(lake):
    litter = lake.lake / "raw" / CARDS.name / "loans" / "x.parquet.tmp"
    litter.write_bytes(b"half")
    assert sweep(lake.lake) == 1
    assert not litter.exists()
