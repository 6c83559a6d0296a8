"""Tests that training is reproducible and that the fitted model is monotone."""

import numpy as np
import polars as pl

from ml.features import by_name
from ml.train import fit, usable_features
from support.training import POLICY, book


def test_all_null_features_are_left_out(model):
    assert not [n for n in model.fit.features if n.endswith("_12m")]


def test_same_data_same_bytes(model, tmp_path):
    train, val = book(), book(1500, 1)
    again = fit(train, val, usable_features(train), POLICY.training)
    model.fit.booster.save_model(tmp_path / "a.ubj")
    again.booster.save_model(tmp_path / "b.ubj")
    assert (tmp_path / "a.ubj").read_bytes() == (tmp_path / "b.ubj").read_bytes()


def test_margin_is_monotone_in_every_signed_feature(model):
    rows = book(300, 5)
    base = model.fit.margin(rows)
    for feature in by_name(model.fit.features):
        if feature.sign:
            riskier = rows.with_columns(pl.col(feature.name).cast(pl.Float64) + feature.sign * 0.5)
            assert (model.fit.margin(riskier) >= base - 1e-6).all(), feature.name


def test_early_stopping_is_obeyed_when_predicting(model):
    import xgboost as xgb

    rows = book(50, 6)
    data = xgb.DMatrix(
        rows.select(pl.col(model.fit.features).cast(pl.Float64)).to_numpy(), feature_names=list(model.fit.features)
    )
    assert model.fit.booster.num_boosted_rounds() > model.fit.best_iteration + 1
    all_trees = model.fit.booster.predict(data, output_margin=True)
    assert not np.allclose(model.fit.margin(rows), all_trees)
