"""The home of version 1 in `tests/homes`, and the same home after the next night, which tests share."""

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
    """The home of version 1, with its keys beside it."""
    with tarfile.open(ARCHIVE) as tar:
        tar.extractall(folder, filter="data")
    return folder / "home"


def pipeline_of(home: Path) -> Pipeline:
    """Today's policy, with the one source that the home has."""
    policy = yaml.safe_load((PROJECT_ROOT / "policy/default.yaml").read_text())
    policy["sources"] = {"simulated": policy["sources"]["simulated"]}
    path = home.parent / "policy.yaml"
    path.write_text(yaml.safe_dump(policy, sort_keys=False))
    return load_pipeline(Settings(home=home, policy=path))


def upgraded_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home after the next night, which took in the waiting files; `visits.json` beside it has the files it ran."""

    def make(folder: Path) -> None:
        with first_visits() as visits:
            result = run_night(pipeline_of(unpack(folder)))
        assert result.exit is Exit.PUBLISHED, result.failures
        assert {r.state for r in result.receipts} == {"ACCEPTED"}
        assert result.changed
        (folder / VISITS).write_text(json.dumps(visits))

    return once(tmp_path_factory, "upgraded-home", make) / "home"
