"""Test whether a change is more than noise: one-sided tests, and Holm's correction for many tests at once."""

from collections.abc import Sequence

from scipy.stats import beta, binom, hypergeom
from scipy.stats import t as student

_EXACT_TO = 2_000


def more_often(hits: int, of: int, base_hits: int, base_of: int) -> float:
    """The p-value of Fisher's exact test (1935; hypergeometric tail). A small p: hits are more frequent now.

    `hits` of `of` now, `base_hits` of `base_of` in the base. Above 2,000 hits in total, p is the binomial tail instead
    (the test of two equal Poisson rates). Its time does not grow with the hits, and its p is a little larger.

    >>> round(more_often(3, 4, 1, 4), 4)
    0.2429
    """
    all_hits, every = hits + base_hits, of + base_of
    if all_hits in (0, every):
        return 1.0
    if all_hits <= _EXACT_TO:
        return float(hypergeom.sf(hits - 1, every, all_hits, of))
    return float(binom.sf(hits - 1, all_hits, of / every))


def higher_mean(now: tuple[int, float, float], base: tuple[int, float, float]) -> float:
    """The p-value of Welch's test (1947). A small p: the mean is higher now than in the base.

    `now`, `base`: (count, sum, sum of squares).
    """
    (n, mean, variance), (base_n, base_mean, base_variance) = _moments(*now), _moments(*base)
    if n < 2 or base_n < 2:
        return 1.0
    a, b = variance / n, base_variance / base_n
    if a + b <= 0:
        return 0.0 if mean > base_mean else 1.0
    freedom = (a + b) ** 2 / (a**2 / (n - 1) + b**2 / (base_n - 1))
    return float(student.sf((mean - base_mean) / (a + b) ** 0.5, freedom))


def above_expected(defaults: int, of: int, pd: float) -> float:
    """The p-value of Jeffreys' test. A small p: `pd` is too low for the observed `defaults` of `of` accounts.

    Source: ECB, instructions for validation reporting, February 2019.

    >>> round(above_expected(55, 406, 0.10342906086898278), 8)
    0.01995857
    """
    return float(beta.cdf(pd, defaults + 0.5, of - defaults + 0.5))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values after Holm's step-down correction (1979), in the order of `p_values`.

    >>> [round(p, 2) for p in holm([0.01, 0.04, 0.03, 0.005])]
    [0.03, 0.06, 0.06, 0.02]
    """
    adjusted, reached = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        reached = max(reached, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = reached
    return adjusted


def _moments(count: int, total: float, squares: float) -> tuple[int, float, float]:
    mean = total / count if count else 0.0
    return count, mean, max(squares - count * mean**2, 0.0) / max(count - 1, 1)
