"""Tests of the significance tests, compared with SciPy and golden numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import fisher_exact, ttest_ind

from dagster_project.early_warning.significance import above_expected, higher_mean, holm, more_often


def test_more_often_is_fishers_exact_test():
    """`more_often` returns the p-value of Fisher's exact test in SciPy.

    Above 2,000 hits in total, `more_often` is an approximation. It is then never below the exact p-value, and less than
    1.8 times as large.
    """
    for hits, of, base_hits, base_of in ((3, 4, 1, 4), (30, 900, 90, 5_000), (0, 50, 3, 60), (12, 12, 0, 9)):
        table = [[hits, of - hits], [base_hits, base_of - base_hits]]
        assert more_often(hits, of, base_hits, base_of) == pytest.approx(fisher_exact(table, "greater").pvalue)
    for hits in (340, 361, 401):
        exact = fisher_exact([[hits, 15_000 - hits], [1_640, 88_360]], "greater").pvalue
        assert 1 <= more_often(hits, 15_000, 1_640, 90_000) / exact < 1.8
    assert more_often(0, 10, 0, 10) == more_often(10, 10, 10, 10) == 1


def test_higher_mean_is_welchs_test():
    random = np.random.default_rng(1)
    now, base = random.normal(0.52, 0.3, 400), random.normal(0.45, 0.2, 900)
    moments = [(len(x), float(x.sum()), float((x**2).sum())) for x in (now, base)]
    assert higher_mean(*moments) == pytest.approx(ttest_ind(now, base, equal_var=False, alternative="greater").pvalue)
    assert higher_mean((5, 2.5, 1.25), (5, 2.5, 1.25)) == 1
    assert higher_mean((5, 3.0, 1.8), (5, 2.5, 1.25)) < 1e-9, "no spread at all, and higher"


def test_jeffreys_golden_numbers():
    """`above_expected` returns the golden p-values of Jeffreys' test from section 7 of the modelling specification."""
    assert above_expected(55, 406, 0.10342906086898278) == pytest.approx(0.01995857, abs=1e-8)
    assert above_expected(41, 480, 0.09952395992070007) == pytest.approx(0.84955196, abs=1e-8)


@given(st.lists(st.floats(0, 1), max_size=40))
def test_holm_keeps_the_order_and_never_helps(p_values):
    adjusted = holm(p_values)
    assert all(p <= a <= 1 for p, a in zip(p_values, adjusted, strict=True))
    in_order = [a for _, a in sorted(zip(p_values, adjusted, strict=True))]
    assert in_order == sorted(in_order)
    if p_values:
        assert min(adjusted) == pytest.approx(min(1, len(p_values) * min(p_values)))
