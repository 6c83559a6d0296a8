"""A fixture with one simulated book. All tests share the book, so no test may change it."""

import pytest

from dagster_project.simulator.planted import switches
from dagster_project.simulator.simulate import Plan, simulate


@pytest.fixture(scope="session")
def book(tmp_path_factory):
    """Return the folder of a simulated book that contains payment holidays and everything that can be planted."""
    folder = tmp_path_factory.mktemp("book")
    simulate(Plan(4_000, 24, seed=5, opened_within=14, deferral_month=10, planted=switches(["all"])), folder)
    return folder
