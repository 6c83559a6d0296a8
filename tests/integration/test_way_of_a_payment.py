"""Tests that the section "The way of one payment" of the README is correct.

Its Python files must be in the order in which a night uses them, and its models in the order of dbt's lineage.
"""

import json
import re
from itertools import pairwise

import polars as pl
import pytest

from dagster_project.home.settings import PROJECT_ROOT
from support.old_home import VISITS, pipeline_of, upgraded_home
from support.simulated_files import raw_rows

SECTION = (PROJECT_ROOT / "README.md").read_text().split("## The way of one payment\n")[1].split("\n## ")[0]
PYTHON = re.findall(r"`([\w/]+\.py)`", SECTION)
MODELS = re.findall(r"`(\w+)`", re.search(r"Its SQL(.*?)\n\d+\. ", SECTION, re.DOTALL)[1])


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """Return the home of a night that ingested payments, and the project files it used, in order of first use."""
    home = upgraded_home(tmp_path_factory)
    return home, json.loads((home.parent / VISITS).read_text())


def test_python_files_are_visited_in_the_order_of_the_page(night):
    _, visits = night
    assert 6 <= len(PYTHON) <= 12
    assert [path for path in visits if path in PYTHON] == PYTHON


def test_models_are_each_made_from_the_one_before(night):
    home, _ = night
    manifest = json.loads((home / "dbt/prepared_manifest.json").read_text())
    parents = {node["name"]: node["depends_on"]["nodes"] for node in manifest["nodes"].values() if "depends_on" in node}
    assert len(MODELS) >= 5
    for before, model in pairwise(MODELS):
        assert any(parent.endswith(f".{before}") for parent in parents[model]), (before, model)


def test_a_payment_that_arrived_that_night_is_published(night):
    home, _ = night
    pipeline = pipeline_of(home)
    arrived = [r for r in pipeline.receipts("simulated") if r.file_name.startswith("payments-2020-01")]
    paid = raw_rows(pipeline.ingest_context.lake, arrived, "payments")
    published = pl.read_parquet(pipeline.settings.published / "current/fct_payments.parquet")
    assert paid.height > 10
    assert set(paid["payment_id"]) <= set(published["payment_id"])
