"""Tests that dbt's source file matches the canonical tables."""

from dagster_project.home.settings import PROJECT_ROOT
from dagster_project.ingestion.contracts.dbt_sources import SOURCES_FILE, sources_yaml


def test_dbts_source_file_is_the_one_of_the_canonical_tables():
    assert (PROJECT_ROOT / "dbt/models/staging" / SOURCES_FILE).read_text() == sources_yaml(), "run `make sources`"
