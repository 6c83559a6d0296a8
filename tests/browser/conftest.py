"""Fixtures: a home with two models, MLflow's real server over it, and a page whose troubles fail the test."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from browser_support import ABSENT, Troubles, chromium, dagster_server, mlflow_server, new_context, started_browser
from tests_support import damage, home_with_challenger, once, pipeline_in

from dagster_project.instance import open_instance
from dagster_project.night import Exit, run_night
from dagster_project.partitions import add_waiting_days
from dagster_project.resources import Pipeline

LINE = 17


@pytest.fixture(scope="session")
def two_models(first_night: Path, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """A home whose source has a champion and a held challenger."""
    home = once(tmp_path_factory, "two-models", lambda home: home_with_challenger(first_night, home))
    return pipeline_in(home)


@pytest.fixture(scope="session")
def mlflow(two_models: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(two_models, tmp_path_factory.mktemp("logs")) as address:
        yield address


@pytest.fixture(scope="session")
def stopped_night(first_night: Path, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """The first night's home after a night that a check stopped, with two more files that wait."""

    def make(home: Path) -> None:
        shutil.copytree(first_night, home, symlinks=True)
        pipeline = pipeline_in(home)
        no_balance = pl.when(pl.col("line_no") == LINE).then(None).otherwise("balance").alias("balance")
        damage(pipeline, "taiwan_cards", "statements", lambda rows: rows.with_columns(no_balance))
        assert run_night(pipeline, force=True).exit is Exit.STOPPED
        tapes = home / "landing/ally_auto"
        tapes.mkdir(parents=True)
        for month in ("2017-05", "2017-06"):
            (tapes / f"{month}.csv").write_text("waits\n")
        with open_instance(pipeline.settings) as instance:
            add_waiting_days(instance, pipeline)

    return pipeline_in(once(tmp_path_factory, "stopped-night", make))


@pytest.fixture(scope="session")
def dagster(stopped_night: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with dagster_server(stopped_night, tmp_path_factory.mktemp("logs")) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    """One a module, and none afterwards: Playwright's event loop runs as long as it does, and is in Dagster's way."""
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
    """Before any fixture runs a night for nothing."""
    if chromium() is None:
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason=ABSENT))
