"""The Dagster instance of a home: its folder and its settings, in a home of this code's version."""

import os
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from dagster_project.alone import in_turn
from dagster_project.files import replace_text
from dagster_project.home.version import upgrade_home
from dagster_project.publishing.fingerprint import git_revision
from dagster_project.settings import PROJECT_ROOT, Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance

_SETTINGS = Path(__file__).with_name("dagster.yaml")


def prepare_home(settings: Settings) -> None:
    """Upgrade the home, make its folders and give Dagster its settings; called alone, before anything is started.

    Raises:
        HomeVersionError: the home is newer than this code, or cannot be upgraded.
        NightRunningError: it must be upgraded, and a night is running in it.
    """
    upgrade_home(settings, _revision)
    _make_folders(settings)


def _revision() -> str:
    """The commit of this code; outside of a checkout the version of the package."""
    commit = git_revision(PROJECT_ROOT)
    return f"creditloom {metadata.version('creditloom')}" if commit == "none" else f"commit {commit}"


def _make_folders(settings: Settings) -> None:
    for folder in (settings.landing, settings.lake, settings.warehouse, settings.build, settings.published):
        folder.mkdir(parents=True, exist_ok=True)
    settings.mlflow.mkdir(exist_ok=True)
    settings.dagster_home.mkdir(exist_ok=True)
    replace_text(settings.dagster_home / "dagster.yaml", _SETTINGS.read_text())
    os.environ.update(settings.tool_environment)


def open_instance(settings: Settings) -> "DagsterInstance":
    """The home's instance: what the command line runs is seen in the UI. Who only reads upgrades no home by it."""
    from dagster import DagsterInstance

    _make_folders(settings)
    # The first to come creates Dagster's databases; two at once would both try, and one of them fail.
    with in_turn(settings.home, "instance"):
        return DagsterInstance.from_config(str(settings.dagster_home))
