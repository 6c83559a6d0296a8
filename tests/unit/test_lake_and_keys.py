"""The lake's files are what their receipts say; keys derive, seal, and are refused where they must be."""

import datetime as dt
from dataclasses import replace

import polars as pl
import pytest
from cryptography.exceptions import InvalidTag

from dagster_project.ingestion.contracts.canonical import raw_schema
from dagster_project.ingestion.contracts.source import load_sources
from dagster_project.ingestion.intake import ingest
from dagster_project.ingestion.lake.files import LakeCorruptionError, select, sweep
from dagster_project.keys.master import MasterKeyError, load_keys, seal, unseal

CARDS = load_sources()["taiwan_cards"]
NOW = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)


@pytest.fixture
def lake(pipeline, drop, cards):
    card_file, line = cards
    drop(pipeline, "a.csv", card_file(line(1), line(2)))
    ingest(CARDS, pipeline.ingest_context, NOW)
    return pipeline.ingest_context


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


def test_pseudonyms_are_stable_and_differ_by_domain_and_key():
    keys = load_keys("11" * 32, None, production=True)
    values = pl.Series(["a", "b", "a", None])
    table = keys.pseudonyms(values, "borrower")
    assert table.sort("value")["value"].to_list() == ["a", "b"]
    assert table.sort("value").equals(keys.pseudonyms(values, "borrower").sort("value"))
    assert set(table["pseudonym"]).isdisjoint(keys.pseudonyms(values, "loan")["pseudonym"])
    other = load_keys("22" * 32, None, production=True)
    assert set(table["pseudonym"]).isdisjoint(other.pseudonyms(values, "borrower")["pseudonym"])


def test_sealed_row_opens_only_in_its_place():
    sealed = seal(b"k" * 32, b"row", "delivery:7")
    assert unseal(b"k" * 32, sealed, "delivery:7") == b"row"
    with pytest.raises(InvalidTag):
        unseal(b"k" * 32, sealed, "delivery:8")


@pytest.mark.parametrize(("key", "says"), [(None, "needs a master key"), ("zz", "hexadecimal"), ("11", "1 bytes")])
def test_production_refuses_to_start_without_a_key_of_its_own(key, says):
    with pytest.raises(MasterKeyError, match=says):
        load_keys(key, None, production=True)


def test_production_refuses_the_development_key_even_if_given():
    development = load_keys(None, None, production=False)
    with pytest.raises(MasterKeyError, match="public"):
        load_keys(development._master.hex(), None, production=True)


def test_key_is_not_shown():
    assert "11" * 8 not in repr(load_keys("11" * 32, None, production=True))


def test_lake_keeps_to_the_key_that_it_was_begun_with(lake):
    """A production key over a lake of public pseudonyms would protect nothing and say nothing."""
    lake.check_key()
    other = replace(lake, keys=load_keys("11" * 32, None, production=True))
    with pytest.raises(MasterKeyError, match="made with another key"):
        other.check_key()
    with pytest.raises(MasterKeyError, match="made with another key"):
        ingest(CARDS, other, NOW)
