"""Tests of the master key: it makes pseudonyms and encrypts rows, and unsuitable keys are refused."""

import polars as pl
import pytest
from cryptography.exceptions import InvalidTag

from dagster_project.keys.master import MasterKeyError, load_keys, seal, unseal


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
