"""Tests of contributions from lookup tables: they equal XGBoost's own contributions, and lead to the same reasons."""

from dataclasses import replace

import numpy as np
import pytest
import xgboost as xgb
from hypothesis import given, settings
from hypothesis import strategies as st

from ml import reasons
from ml.reasons import ContributionsError, explain
from ml.tree_shap import tables_of
from support.training import POLICY, book


def fitted(seed: int, depth: int, features: int, rounds: int) -> tuple[xgb.Booster, np.ndarray]:
    """Return a booster that was fitted on random data, and 200 other rows of the same kind.

    The data have missing values and repeated values. The booster was not fitted on the returned rows.
    """
    random = np.random.default_rng(seed)
    values = random.integers(0, 12, (600, features)).astype(np.float32)
    values[random.random(values.shape) < 0.15] = np.nan
    risk = np.nan_to_num(values[:, 0]) / 6 - 1 + np.nan_to_num(values[:, -1]) / 12
    label = (random.random(600) < 1 / (1 + np.exp(-risk))).astype(float)
    parameters = {"objective": "binary:logistic", "max_depth": depth, "learning_rate": 0.3, "nthread": 1, "seed": seed}
    names = [f"f{i}" for i in range(features)]
    booster = xgb.train(parameters, xgb.DMatrix(values[:400], label[:400], feature_names=names), rounds)
    return booster, values[400:]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), depth=st.integers(1, 3), features=st.integers(2, 6), rounds=st.integers(1, 30))
def test_tables_give_xgboosts_own_contributions(seed, depth, features, rounds):
    booster, values = fitted(seed, depth, features, rounds)
    rows = xgb.DMatrix(values, feature_names=booster.feature_names)
    used = max(1, rounds // 2)
    own = booster.predict(rows, iteration_range=(0, used), pred_contribs=True)
    margin = booster.predict(rows, iteration_range=(0, used), output_margin=True)
    found = tables_of(booster, used).contributions(values)
    assert np.abs(found - own).max() < 1e-5
    assert np.abs(found.sum(axis=1) - margin).max() < 1e-5


def test_deeper_trees_have_no_tables():
    booster, _ = fitted(1, 4, 6, 10)
    assert tables_of(booster, 10) is None


@pytest.mark.parametrize("change", [{}, {"min_contribution_logit": 0.0}, {"min_share_of_adverse": 0.2}])
def test_reasons_from_tables_are_the_reasons(model, change):
    policy = POLICY.reasons.model_copy(update=change)
    rows = book(5000, 17)
    margin = model.fit.margin(rows)
    own, found = explain(model, rows, margin, policy), explain(model, rows, margin, policy, from_tables=True)
    assert found.codes.equals(own.codes) and found.codes["reason_1"].n_unique() > 4
    assert (found.candidates, found.direction_failures) == (own.candidates, own.direction_failures)


def test_near_a_threshold_xgboosts_own_contributions_decide(model, monkeypatch):
    """A row near the threshold of a reason gets the same reasons with and without tables.

    The contributions from the tables are changed slightly, and the threshold is set to the contribution of one of the
    rows.
    """
    rows = book(2000, 18)
    margin, own = model.fit.margin(rows), model.fit.contributions(rows)
    exact = reasons.tables_of(model.fit.booster, model.fit.best_iteration + 1)

    class Off:
        def contributions(self, values, _threads=2):
            return exact.contributions(values) + np.where(np.arange(values.shape[1] + 1) % 2, 9e-6, -9e-6)

    monkeypatch.setattr(reasons, "tables_of", lambda *_: Off())
    names = list(model.fit.features)
    late = [names.index(name) for name in ("max_dpd_3m", "max_dpd_6m") if name in names]
    above = own[:, late].sum(axis=1) - sum(model.mean_contribution[names[i]] for i in late)
    threshold = float(np.sort(above[above > 0])[50])
    policy = POLICY.reasons.model_copy(update={"min_contribution_logit": threshold})
    assert explain(model, rows, margin, policy, from_tables=True).codes.equals(
        explain(model, rows, margin, policy).codes
    )


def test_tables_that_differ_stop_the_scoring(model, monkeypatch):
    exact = reasons.tables_of(model.fit.booster, model.fit.best_iteration + 1)
    shifted = replace(exact, bias=exact.bias + 0.001)
    monkeypatch.setattr(reasons, "tables_of", lambda *_: shifted)
    rows = book(2000, 19)
    with pytest.raises(ContributionsError, match=r"1\.0e-03"):
        explain(model, rows, model.fit.margin(rows), POLICY.reasons, from_tables=True)


def test_no_rows_have_no_contributions(model):
    rows = book(10, 20).clear()
    assert explain(model, rows, np.zeros(0), POLICY.reasons, from_tables=True).codes.height == 0
