"""One simulated book that the tests share; none changes it."""

import pytest

from dagster_project.simulator.planted import switches
from dagster_project.simulator.simulate import Plan, simulate


@pytest.fixture(scope="session")
def book(tmp_path_factory):
    """A book with holidays and everything planted."""
    folder = tmp_path_factory.mktemp("book")
    simulate(Plan(4_000, 24, seed=5, opened_within=14, deferral_month=10, planted=switches(["all"])), folder)
    return folder
