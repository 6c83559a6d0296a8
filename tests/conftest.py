"""Fixtures for all tests: empty homes, and copies of a home in which one complete night was run.

Running that night once and copying its home is faster than running a night in each test.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from dagster_project.night.pipeline import Pipeline
from dagster_project.operations.run_night import run_night
from support.homes import copy_home, pipeline_in, shared_night

# How long an example takes is no property of the code: these machines are shared.
settings.register_profile("creditloom", deadline=None)
settings.load_profile("creditloom")


@pytest.fixture(scope="session")
def first_night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the home of a complete first night on the source `taiwan_cards`.

    All test workers share this home, so a test must not change it.
    """
    return shared_night(tmp_path_factory, "first-night", lambda home: run_night(pipeline_in(home)))


@pytest.fixture
def home_after_night(first_night: Path, tmp_path: Path) -> Path:
    """Return a copy of the first night's home, which the test may change."""
    return copy_home(first_night, tmp_path / "home")


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    """Return a pipeline with an empty home."""
    return pipeline_in(tmp_path / "home")


@pytest.fixture
def drop() -> Callable[[Pipeline, str, bytes], Path]:
    """Return a function that writes a file into the landing folder of `taiwan_cards`.

    The function takes a pipeline, a file name and the content, and returns the path of the file.
    """

    def _drop(pipeline: Pipeline, name: str, content: bytes) -> Path:
        folder = pipeline.ingest_context.landing / "taiwan_cards"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / name
        path.write_bytes(content)
        return path

    return _drop
