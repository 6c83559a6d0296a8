"""The home of version 1 from `tests/homes`, before and after the first night that runs on it with today's code."""

import json
import tarfile
from pathlib import Path

import pytest
import yaml

from dagster_project.home.settings import PROJECT_ROOT, Settings
from dagster_project.night.pipeline import Pipeline, load_pipeline
from dagster_project.operations.run_night import Exit, run_night
from support.homes import once
from support.visits import first_visits

ARCHIVE = PROJECT_ROOT / "tests/homes/home-v1.tar.xz"
VISITS = "visits.json"


def unpack(folder: Path) -> Path:
    """Unpack the home of version 1 into `folder`, with its keys beside it, and return the home's path."""
    with tarfile.open(ARCHIVE) as tar:
        tar.extractall(folder, filter="data")
    return folder / "home"


def pipeline_of(home: Path) -> Pipeline:
    """Return a pipeline for an old home, with today's default policy and the simulated source as the only source."""
    policy = yaml.safe_load((PROJECT_ROOT / "policy/default.yaml").read_text())
    policy["sources"] = {"simulated": policy["sources"]["simulated"]}
    path = home.parent / "policy.yaml"
    path.write_text(yaml.safe_dump(policy, sort_keys=False))
    return load_pipeline(Settings(home=home, policy=path))


def upgraded_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the home of version 1 after one night with today's code, which also ingested the waiting files.

    All test workers share this home. The file `visits.json` beside it lists the project files that the night used.
    """

    def make(folder: Path) -> None:
        with first_visits() as visits:
            result = run_night(pipeline_of(unpack(folder)))
        assert result.exit is Exit.PUBLISHED, result.failures
        assert {r.state for r in result.receipts} == {"ACCEPTED"}
        assert result.changed
        (folder / VISITS).write_text(json.dumps(visits))

    return once(tmp_path_factory, "upgraded-home", make) / "home"
