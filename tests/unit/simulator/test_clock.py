"""Tests that each part of a simulation draws its own random numbers."""

from dagster_project.simulator.clock import generator
from dagster_project.simulator.macro import SHOCK, macro_path


def test_parts_are_independent():
    assert generator(1, "macro").random() != generator(1, "loans").random()
    assert generator(1, "behaviour", 1).random() != generator(1, "behaviour", 2).random()
    path, shocked = macro_path(3, 40), macro_path(3, 40, shock_month=10)
    assert (path[:10] == shocked[:10]).all()
    assert shocked[10] - path[10] == SHOCK
