"""Fixtures for the browser tests: homes with two models and with a stopped night, the servers on them, and a page.

A test fails if an error occurs on its page.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dagster_project.night.pipeline import Pipeline
from support.browser import ABSENT, Troubles, chromium, dagster_server, mlflow_server, new_context, started_browser
from support.homes import home_with_challenger, home_with_stopped_night, once, pipeline_in


@pytest.fixture(scope="session")
def two_models(first_night: Path, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """Return the pipeline of a home in which the source has a champion and a held challenger."""
    home = once(tmp_path_factory, "two-models", lambda home: home_with_challenger(first_night, home))
    return pipeline_in(home)


@pytest.fixture(scope="session")
def mlflow(two_models: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(two_models, tmp_path_factory.mktemp("logs")) as address:
        yield address


@pytest.fixture(scope="session")
def stopped_night(first_night: Path, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """Return the pipeline of the first night's home after another night that a check stopped.

    Two more files wait in the landing folder.
    """

    home = once(tmp_path_factory, "stopped-night", lambda home: home_with_stopped_night(first_night, home))
    return pipeline_in(home)


@pytest.fixture(scope="session")
def dagster(stopped_night: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with dagster_server(stopped_night, tmp_path_factory.mktemp("logs")) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    """Start a browser for the tests of one module, and close it after them.

    It is not kept longer, because Playwright's event loop runs as long as the browser and conflicts with Dagster.
    """
    with started_browser() as browser:
        yield browser


@pytest.fixture
def page(browser):
    troubles = Troubles()
    context = new_context(browser)
    troubles.watch(context)
    yield context.new_page()
    context.close()
    assert not troubles.found


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip all browser tests if Chromium is not installed, before a fixture runs a night that no test would use."""
    if chromium() is None:
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason=ABSENT))
