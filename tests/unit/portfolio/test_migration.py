"""Tests of transition matrices, with golden numbers and with properties that hold for any matrix.

The golden numbers are from section 3 of the modelling specification.
"""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dagster_project.portfolio.migration import bandwidth, cell_z, generator, transition_matrix
from support.portfolio import array


def test_duration_matrix():
    """The yearly intensities and the one-year matrix of a small example equal the golden numbers.

    Ten loans start in A and ten in B. One loan moves from A to B after 1 month, one from B to A after 2 months, and one
    from B to D after 6 months. Within the year, the loans spend 119 months in A and 115 months in B.
    """
    counts = np.array([[0, 1, 0], [1, 0, 1], [0, 0, 0]], dtype=np.float64)
    intensities = generator(counts, array(119 / 12, 115 / 12, 6 / 12))
    assert intensities[0, 1] == pytest.approx(0.100840, abs=5e-7)
    assert intensities[1, [0, 2]] == pytest.approx(0.104348, abs=5e-7)
    year = transition_matrix(intensities, 1.0)
    assert year[0] == pytest.approx([0.90867, 0.08657, 0.00475], abs=5e-6)
    assert year[1] == pytest.approx([0.08959, 0.81607, 0.09434], abs=5e-6)
    assert year[2].tolist() == [0, 0, 1]


def test_bandwidth_and_z():
    counts = np.array([[80, 15, 5], [10, 70, 20], [5, 15, 80]], dtype=np.float64)
    assert bandwidth(counts) == pytest.approx((0.75, 0.70))
    assert cell_z(counts, 0, 2) == pytest.approx(2.294157, abs=5e-7)


@settings(max_examples=25)
@given(st.integers(0, 10_000))
@example(6956)  # two states that are left at one rate, and no way back
def test_rows_of_a_transition_matrix_add_up_to_1(seed):
    random = np.random.default_rng(seed)
    size = int(random.integers(1, 8))
    counts = random.integers(0, 50, (size, size)) * (random.random((size, size)) < 0.6)
    years = counts.sum(axis=1) / random.uniform(1, 12) * (random.random(size) < 0.9)
    intensities = generator(counts.astype(np.float64), years)
    assert np.allclose(intensities.sum(axis=1), 0)
    for time in (0.0, 1 / 12, 1.0, 7.0):
        found = transition_matrix(intensities, time)
        assert np.allclose(found.sum(axis=1), 1) and (found >= 0).all()
    once = transition_matrix(intensities, 1.0)
    assert np.allclose(transition_matrix(intensities, 2.0), once @ once)
