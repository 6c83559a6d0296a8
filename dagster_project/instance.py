"""The Dagster instance of a home: its folder and its settings."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from dagster_project.alone import in_turn
from dagster_project.files import replace_text
from dagster_project.settings import Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance

_SETTINGS = Path(__file__).with_name("dagster.yaml")


def prepare_home(settings: Settings) -> None:
    """Make the home's folders and give Dagster its settings; called alone, before anything is started."""
    for folder in (settings.landing, settings.lake, settings.warehouse, settings.build, settings.published):
        folder.mkdir(parents=True, exist_ok=True)
    settings.mlflow.mkdir(exist_ok=True)
    settings.dagster_home.mkdir(exist_ok=True)
    replace_text(settings.dagster_home / "dagster.yaml", _SETTINGS.read_text())
    os.environ.update(settings.tool_environment)


def open_instance(settings: Settings) -> "DagsterInstance":
    """The home's instance: what the command line runs is seen in the UI."""
    from dagster import DagsterInstance

    prepare_home(settings)
    # The first to come creates Dagster's databases; two at once would both try, and one of them fail.
    with in_turn(settings.home, "instance"):
        return DagsterInstance.from_config(str(settings.dagster_home))
