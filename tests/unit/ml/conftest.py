"""A fixture with one trained model. All tests share the model, so no test may change it."""

import polars as pl
import pytest

from ml.calibrate import Platt
from ml.model import CreditModel
from ml.train import fit, usable_features
from support.training import POLICY, book


@pytest.fixture(scope="session")
def model() -> CreditModel:
    train, val = book(), book(1500, 1)
    fitted = fit(train, val, usable_features(train), POLICY.training)
    mean = fitted.contributions(train)[:, :-1].mean(axis=0)
    good = train.filter(pl.col("label") == 0).select(pl.col(fitted.features).cast(pl.Float64).median())
    return CreditModel(
        "s",
        fitted,
        Platt(0.0, 1.0),
        dict(zip(fitted.features, map(float, mean), strict=True)),
        good.row(0, named=True),
    )
