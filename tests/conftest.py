"""Fixtures: isolated homes, and one whole real night that tests copy instead of running it again."""

import fcntl
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests_support import pipeline_in

from dagster_project.night import Exit, run_night
from dagster_project.resources import Pipeline


@pytest.fixture(scope="session")
def first_night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of one whole first night on the Taiwan cards, shared by all test workers; never changed."""
    shared = tmp_path_factory.getbasetemp().parent / "first-night"
    with shared.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        outcome = shared / "outcome.txt"
        if not outcome.exists():
            result = run_night(pipeline_in(shared))
            outcome.write_text(f"{result.exit.name} {result.failures}")
        assert outcome.read_text().startswith(Exit.PUBLISHED.name), outcome.read_text()
    return shared


@pytest.fixture
def home_after_night(first_night: Path, tmp_path: Path) -> Path:
    """A copy of the first night's home that a test may change."""
    home = tmp_path / "home"
    shutil.copytree(first_night, home, symlinks=True)
    return home


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    """A pipeline with an empty home."""
    return pipeline_in(tmp_path / "home")


@pytest.fixture
def drop() -> Callable[[Pipeline, str, bytes], Path]:
    """Drop a file into the landing folder of taiwan_cards."""

    def _drop(pipeline: Pipeline, name: str, content: bytes) -> Path:
        folder = pipeline.border.landing / "taiwan_cards"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / name
        path.write_bytes(content)
        return path

    return _drop
