"""Tests of conventions for the dbt models. Most of them read dbt's manifest.

They check the rules that dbt's project evaluator would check, and some rules of this project. Another test checks that
the SQL has no syntax that works only in DuckDB.
"""

import json
import re

import pytest

from dagster_project.home.settings import PROJECT_ROOT, Settings
from dagster_project.ingestion.contracts.canonical import CANONICAL, PERSONS, SUPERSEDED
from dagster_project.night.pipeline import load_pipeline
from dagster_project.warehouse.runner import declared_tests, manifest_file, prepare_manifest
from ml.features import FEATURE_NAMES

CHANGED, BASE, VIEW = "stg_changed_rows", "base_", "port_month_exposures"
# Tables of which every version is staged, for months that are reported as they were known.
VERSIONED = ("payments", "schedules", "statements")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    pipeline = load_pipeline(Settings(home=tmp_path_factory.mktemp("manifest")))
    return json.loads(prepare_manifest(pipeline.settings, pipeline.policy).read_text())


@pytest.fixture(scope="module")
def models(manifest):
    found = {n["name"]: n for n in manifest["nodes"].values() if n["resource_type"] == "model"}
    assert len(found) >= 15
    return found


def layer(node):
    return node["fqn"][1]


def generic_tests_of(manifest, model):
    return [
        n
        for n in manifest["nodes"].values()
        if n["resource_type"] == "test" and n.get("attached_node") == model["unique_id"]
    ]


def test_half_a_manifest_is_not_read(tmp_path):
    """The project does not read a manifest that dbt left incomplete.

    Every dbt command rewrites dbt's own manifest, and writes only part of it if the disk is full. The project reads the
    copy that `prepare_manifest` made, which stays complete.
    """
    pipeline = load_pipeline(Settings(home=tmp_path))
    before = prepare_manifest(pipeline.settings, pipeline.policy).read_text()
    own = pipeline.settings.dbt_target / "manifest.json"
    own.write_text(before[:1000])
    assert prepare_manifest(pipeline.settings, pipeline.policy).read_text() == before
    assert declared_tests(manifest_file(pipeline.settings))


def test_every_model_has_a_description_and_a_key_test(manifest, models):
    """Every model has a description, and every model has a test of its key, except models of two kinds.

    Models that read all versions of a raw table have no such test, because the keys of the raw table are checked
    instead. The view `port_month_exposures` has none, because its key is checked for the months that a night reads from
    it.
    """
    for name, model in models.items():
        assert model["description"], name
        tests = {t["test_metadata"]["name"] for t in generic_tests_of(manifest, model)}
        is_keyed = tests & {"unique_key", "unique_where_corrected"}
        assert is_keyed or name in (CHANGED, VIEW) or name.startswith(BASE), name


def test_marts_have_enforced_contracts_and_described_columns(models):
    for name, model in models.items():
        if layer(model) == "marts":
            assert model["config"]["contract"]["enforced"], name
            assert all(c["description"] and c["data_type"] for c in model["columns"].values()), name


def test_every_mart_has_a_unit_test_or_only_renames(manifest, models):
    """A mart without a unit test only selects columns: its SQL has no condition, join or aggregate."""
    tested = {u["model"] for u in manifest["unit_tests"].values()}
    for name, model in models.items():
        if layer(model) == "marts" and name not in tested:
            assert not re.search(r"\b(case|join|group by|sum|count)\b", model["raw_code"], re.I), name
    bases = {f"int_{basis}_loan_months" for basis in ("status", "imputed", "ledger")}
    assert bases | {"int_loan_month_history"} <= tested


def lake(manifest) -> list[dict]:
    """Return the manifest's entries for the tables of the dbt source `lake`, which are the canonical tables.

    The dbt source `lake_changed` is left out. It contains the changed part of the same files, and only one model reads
    it.
    """
    return [s for s in manifest["sources"].values() if s["source_name"] == "lake"]


def test_only_staging_reads_sources_and_staging_reads_nothing_else(manifest, models):
    for name, model in models.items():
        parents = model["depends_on"]["nodes"]
        reads_source = any(p.startswith("source.") or p.split(".")[-1].startswith(BASE) for p in parents)
        assert reads_source == (layer(model) == "staging"), name
        if layer(model) == "staging" and name != CHANGED:
            own = {p.split(".")[-1].removeprefix(BASE) for p in parents if not p.endswith(f".{SUPERSEDED}")}
            assert len(own) == 1, f"{name}: a staging model reads one source, and which rows of it have newer versions"


def test_layers_point_downstream_and_names_say_the_layer(manifest, models):
    order = {"staging": 0, "intermediate": 1, "marts": 2}
    prefixes = {
        "staging": ("stg_", BASE),
        "intermediate": ("int_",),
        "marts": ("dim_", "fct_", "feat_", "label_", "monitor_", "port_"),
    }
    for name, model in models.items():
        assert name.startswith(prefixes[layer(model)]), name
        for parent in model["depends_on"]["nodes"]:
            if parent.startswith("model."):
                assert order[layer(manifest["nodes"][parent])] <= order[layer(model)], (name, parent)


def test_no_hard_coded_relations(models):
    for name, model in models.items():
        code = re.sub(r"--.*|\{#.*?#\}", "", model["raw_code"])
        assert not re.search(r"\b(from|join)\s+(staging|intermediate|marts)\.", code), name
        assert "read_parquet" not in code, name


def test_every_source_table_is_read_once_with_known_as_of(manifest, models):
    others = [m for name, m in models.items() if name != CHANGED]
    read = [p for m in others for p in m["depends_on"]["nodes"] if p.startswith("source.creditloom.lake.")]
    read = [p for p in read if not p.endswith(f".{SUPERSEDED}")]
    assert len(read) == len(set(read)) == len(lake(manifest)) - 1
    for name, model in models.items():
        if layer(model) == "staging" and name != CHANGED and not name.startswith(BASE):
            table = name.removeprefix("stg_")
            rows = "versions_that_counted" if table in VERSIONED else "newest_versions"
            rows = "first_known" if table in PERSONS else "is_newest_version" if table == "client_money" else rows
            assert f"{rows}('{table}')" in model["raw_code"], name
            reads = model["raw_code"] + manifest["macros"][f"macro.creditloom.{rows}"]["macro_sql"]
            assert "ingested_at <= {{ known_as_of() }}" in reads, name


def test_ingestion_time_enters_no_mart(models):
    for name, model in models.items():
        if layer(model) != "staging":
            assert "ingested_at" not in model["raw_code"], name


def test_sources_are_the_canonical_tables(manifest):
    found = {s["name"]: list(s["columns"]) for s in lake(manifest)}
    assert found.keys() == CANONICAL.keys()
    assert all(found[name][: len(columns)] == list(columns) for name, columns in CANONICAL.items())


def test_feature_mart_has_exactly_the_models_features(models):
    """The columns of the feature mart are keys, flags and then the features of `ml/features.py` in their order."""
    columns = list(models["feat_loan_months"]["columns"])
    head = ["source", "loan_id", "month_on", "borrower_id", "is_live", "in_default", "zero_balance"]
    assert columns == head + list(FEATURE_NAMES)


DUCKDB_ONLY = r"\b(qualify|asof|generate_series|unnest|strftime|arg_max|arg_min|list_\w+|epoch|exclude)\b|//|\w\["


def test_sql_is_read_by_both_engines():
    for path in (PROJECT_ROOT / "dbt/models").rglob("*.sql"):
        code = re.sub(r"--.*|\{[%#{].*?[%#}]\}", "", path.read_text())
        assert not re.search(DUCKDB_ONLY, code, re.I), path.name


def test_no_personal_attribute_reaches_a_feature_or_a_snapshot(manifest, models):
    monitor = models["monitor_borrower_attributes"]
    assert not monitor["config"]["meta"].get("publish_sorted_by")
    children = [n["name"] for n in models.values() if monitor["unique_id"] in n["depends_on"]["nodes"]]
    assert children == []
    attributes = {"sex", "age", "marriage", "education"}
    for name, model in models.items():
        if model["config"]["meta"].get("publish_sorted_by"):
            assert not attributes & set(model["columns"]), name
