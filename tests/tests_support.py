"""What several test modules share."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

# A developer's own settings must not reach a test.
for _name in [n for n in os.environ if n.startswith("CREDITLOOM_")]:
    del os.environ[_name]

from dagster_project.night import Exit, NightResult  # noqa: E402
from dagster_project.resources import Pipeline, load_pipeline  # noqa: E402
from dagster_project.settings import Settings  # noqa: E402


def pipeline_in(home: Path, **more) -> Pipeline:
    """A pipeline whose data lies in `home`; `extra_checks` may be handed in."""
    return load_pipeline(Settings(home=home), **more)


def shared_night(tmp_path_factory: pytest.TempPathFactory, name: str, run: Callable[[Path], NightResult]) -> Path:
    """The home of a night that all test workers share: the first one that needs it runs it; none may change it."""
    base = tmp_path_factory.getbasetemp()
    # Workers share the folder above their own; without workers that one is shared with other sessions.
    home = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    outcome = home.with_suffix(".outcome")
    with home.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not outcome.exists():
            result = run(home)
            outcome.write_text(f"{result.exit.name} {result.failures}")
        assert outcome.read_text().startswith(Exit.PUBLISHED.name), outcome.read_text()
    return home
