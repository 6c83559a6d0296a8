"""Libraries are imported during a wait, and only during it."""

import sys
import threading
import time

import pytest

from dagster_project.night import imports
from dagster_project.night.imports import importing_meanwhile


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Three modules that take a tenth of a second each to import; the first does not exist."""
    for name in ("slow_a", "slow_b", "slow_c"):
        (tmp_path / f"{name}.py").write_text("import time\ntime.sleep(0.1)\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(imports, "_needed", lambda _: ("no_such_module", "slow_a", "slow_b", "slow_c"))
    yield
    for name in ("slow_a", "slow_b", "slow_c"):
        sys.modules.pop(name, None)


def imported():
    return [name for name in ("slow_a", "slow_b", "slow_c") if name in sys.modules]


def test_all_are_imported_if_the_wait_is_long_enough(modules):
    with importing_meanwhile(None):
        time.sleep(1)
    assert imported() == ["slow_a", "slow_b", "slow_c"]


def test_after_the_wait_no_import_is_begun_and_none_is_half_done(modules):
    with importing_meanwhile(None):
        time.sleep(0.05)
    assert "slow_c" not in imported()
    assert "imports" not in {thread.name for thread in threading.enumerate()}


def test_error_of_the_wait_is_raised(modules):
    with pytest.raises(RuntimeError, match="dbt failed"), importing_meanwhile(None):
        raise RuntimeError("dbt failed")
