"""Tests of the transition matrices that simulate how borrowers behave."""

import numpy as np

from dagster_project.simulator.behaviour import transitions


def test_chain_is_a_chain():
    matrix = transitions(np.linspace(-5, 5, 200), stress=1.5)
    assert np.abs(matrix.sum(axis=2) - 1).max() < 1e-12
    assert (matrix >= 0).all()
