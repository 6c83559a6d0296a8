"""Tests that each published table contains its key columns."""

from dagster_project.portfolio.tables import TABLES, empty


def test_every_table_has_its_keys_first():
    for name, keys in TABLES.items():
        assert set(keys) <= set(empty(name).columns), name
