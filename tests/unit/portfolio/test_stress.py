"""Tests of the stressed PD against golden numbers."""

import pytest

from dagster_project.portfolio.stress import stressed_pd
from support.portfolio import array


def test_vasicek():
    found = [stressed_pd(array(0.01), factor, 0.15)[0] for factor in (1, 0, -1, -2)]
    assert found == pytest.approx([0.001623, 0.005813, 0.017724, 0.046177], abs=5e-7)
    assert stressed_pd(array(0, 1), -1, 0.15).tolist() == [0, 1]
