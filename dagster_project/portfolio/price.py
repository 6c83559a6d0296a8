"""The capital that a loan requires by the Basel formula, and the price that covers risk, cost and capital."""

from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from dagster_project.portfolio.policy import PricePolicy

Floats = NDArray[np.float64]
AssetClass = Literal["corporate", "mortgage", "revolving_retail", "other_retail"]
_CORPORATE_MATURITY = 2.5


def risk_weight(pd: Floats, lgd: float, asset_class: AssetClass) -> Floats:
    """Return the risk weight of exposures as a fraction, where 1 is 100 %: 12.5 times the capital by CRE31 of Basel.

    Corporate exposures have a maturity of 2.5 years, as in the foundation approach. `pd` must be above 0 and below 1.
    """
    from scipy.special import ndtr, ndtri

    correlation = _correlation(pd, asset_class)
    bad_year = ndtr((ndtri(pd) + np.sqrt(correlation) * ndtri(0.999)) / np.sqrt(1 - correlation))
    capital = lgd * (bad_year - pd)
    if asset_class == "corporate":
        slope = (0.11852 - 0.05478 * np.log(pd)) ** 2
        capital = capital * (1 + (_CORPORATE_MATURITY - 2.5) * slope) / (1 - 1.5 * slope)
    return cast(Floats, 12.5 * capital)


def _correlation(pd: Floats, asset_class: AssetClass) -> Floats:
    if asset_class == "mortgage":
        return np.full_like(pd, 0.15)
    if asset_class == "revolving_retail":
        return np.full_like(pd, 0.04)
    low, high, speed = (0.12, 0.24, 50.0) if asset_class == "corporate" else (0.03, 0.16, 35.0)
    weight = (1 - np.exp(-speed * pd)) / (1 - np.exp(-speed))
    return cast(Floats, low * weight + high * (1 - weight))


def risk_based_price(pd: Floats | float, lgd: float, capital: Floats | float, policy: PricePolicy) -> Floats | float:
    """Return the yearly price of a loan, as a fraction: `CoF (1 - K) + opex + PD LGD + K ROE / (1 - tax)`.

    CoF is the cost of funding. K is `capital`, as a share of the exposure. The other terms come from the policy.
    """
    equity = policy.return_on_equity / (1 - policy.tax_rate)
    return policy.funding_cost * (1 - capital) + policy.operating_cost + pd * lgd + capital * equity
