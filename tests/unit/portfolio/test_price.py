"""Tests of the risk-based price and of risk weights.

The golden numbers are from section 7 of the modelling specification.
"""

import pytest

from dagster_project.portfolio.price import risk_based_price, risk_weight
from support.portfolio import POLICY, array


def test_price():
    policy = POLICY.price.model_copy(
        update={"funding_cost": 0.04, "operating_cost": 0.02, "return_on_equity": 0.15, "tax_rate": 0.25}
    )
    assert risk_based_price(0.03, 0.60, 0.08, policy) == pytest.approx(0.0908)


@pytest.mark.parametrize(
    ("asset_class", "lgd", "percent"),
    [("corporate", 0.45, 92.32), ("mortgage", 0.45, 56.40), ("revolving_retail", 0.85, 32.53)],
)
def test_risk_weights(asset_class, lgd, percent):
    assert 100 * risk_weight(array(0.01), lgd, asset_class)[0] == pytest.approx(percent, abs=0.005)
