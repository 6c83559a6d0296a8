"""The published tables begin with their keys."""

from dagster_project.portfolio.tables import TABLES, empty


def test_every_table_has_its_keys_first():
    for name, keys in TABLES.items():
        assert set(keys) <= set(empty(name).columns), name
