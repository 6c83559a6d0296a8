"""Tests of assets that a user adds to `defs/yours`.

They appear beside the project's own assets and are not part of the night.
"""

import json
import os
import shutil
import subprocess
import sys

import pytest

from support.homes import PROJECT_ROOT

LOOK = """
import json, dagster as dg, dagster_project
from dagster_project.definitions import defs
from dagster_project.defs.jobs import NIGHTLY
from dagster_project.home.settings import PROJECT_ROOT, Settings
from dagster_project.snapshots.fingerprint import code_fingerprint
loaded = defs()
graph = loaded.resolve_asset_graph()
yours = dg.AssetKey("largest_loans")
print(json.dumps({
    "keys": len(graph.get_all_asset_keys()),
    "yours": graph.has(yours),
    "parents": [k.to_user_string() for k in graph.get(yours).parent_keys] if graph.has(yours) else [],
    "nightly": len(loaded.resolve_job_def(NIGHTLY).asset_layer.selected_asset_keys),
    "in_nightly": yours in loaded.resolve_job_def(NIGHTLY).asset_layer.selected_asset_keys,
    "schedules": sorted(s.name for s in loaded.schedules),
    "code": code_fingerprint(PROJECT_ROOT, Settings().policy),
}))
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Return a copy of the project with everything that a Dagster code location needs."""
    copy = tmp_path_factory.mktemp("project") / "creditloom"
    for name in ("dagster_project", "dbt", "expectations", "ml", "policy"):
        shutil.copytree(PROJECT_ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "target"))
    for name in ("pyproject.toml", "requirements.lock", "requirements-data.lock"):
        shutil.copy(PROJECT_ROOT / name, copy / name)
    return copy


def loaded(tree):
    environment = os.environ | {"PYTHONPATH": str(tree), "CREDITLOOM_HOME": str(tree.parent / "home")}
    done = subprocess.run([sys.executable, "-c", LOOK], cwd=tree, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_dropped_file_appears_beside_ours_and_is_no_part_of_the_night(tree):
    before = loaded(tree)
    shutil.copy(PROJECT_ROOT / "docs/examples/largest_borrowers.py", tree / "dagster_project/defs/yours")
    after = loaded(tree)
    assert not before["yours"] and after["yours"]
    assert after["keys"] == before["keys"] + 1, "ours are there once"
    assert after["parents"] == ["published/snapshot"]
    assert set(after["schedules"]) - set(before["schedules"]) == {"every_morning"}
    assert after["nightly"] == before["nightly"] and not after["in_nightly"]
    assert after["code"] == before["code"], "a user's asset makes no night rebuild"
