"""Tests of whether a change is more than chance: one-sided tests, and Holm's correction for many tests at once."""

from collections.abc import Sequence

_EXACT_TO = 2_000


def more_often(hits: int, of: int, base_hits: int, base_of: int) -> float:
    """Return the p-value of Fisher's exact test (1935), which is a tail of the hypergeometric distribution.

    A small p-value means that hits are more frequent now than in the base. Now, `hits` of `of` accounts are hits. In
    the base, `base_hits` of `base_of` accounts are hits. If no account or every account is a hit, the p-value is 1.

    If there are more than 2,000 hits in total, a tail of the binomial distribution is returned instead, which is the
    test of two equal Poisson rates. Its computing time does not grow with the number of hits. Its p-value is a little
    larger.

    >>> round(more_often(3, 4, 1, 4), 4)
    0.2429
    """
    from scipy import stats

    all_hits, every = hits + base_hits, of + base_of
    if all_hits in (0, every):
        return 1.0
    if all_hits <= _EXACT_TO:
        return float(stats.hypergeom.sf(hits - 1, every, all_hits, of))
    return float(stats.binom.sf(hits - 1, all_hits, of / every))


def higher_mean(now: tuple[int, float, float], base: tuple[int, float, float]) -> float:
    """Return the p-value of Welch's test (1947).

    A small p-value means that the mean is higher now than in the base. `now` and `base` are (count, sum, sum of
    squares). With a count below 2, the p-value is 1. If neither side varies, it is 0 for a higher mean and 1 otherwise.
    """
    (n, mean, variance), (base_n, base_mean, base_variance) = _moments(*now), _moments(*base)
    if n < 2 or base_n < 2:
        return 1.0
    a, b = variance / n, base_variance / base_n
    if a + b <= 0:
        return 0.0 if mean > base_mean else 1.0
    from scipy import stats

    freedom = (a + b) ** 2 / (a**2 / (n - 1) + b**2 / (base_n - 1))
    return float(stats.t.sf((mean - base_mean) / (a + b) ** 0.5, freedom))


def above_expected(defaults: int, of: int, pd: float) -> float:
    """Return the p-value of Jeffreys' test.

    A small p-value means that `pd` is too low for the observed number of `defaults` among `of` accounts.

    Source: ECB, instructions for validation reporting, February 2019.

    >>> round(above_expected(55, 406, 0.10342906086898278), 8)
    0.01995857
    """
    from scipy import stats

    return float(stats.beta.cdf(pd, defaults + 0.5, of - defaults + 0.5))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values after Holm's step-down correction (1979), in the order of `p_values`.

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
