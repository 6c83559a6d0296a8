"""Tests of the bootstrap gate and of the ledger of promotions."""

import datetime as dt
import sqlite3

import numpy as np
import pytest

from ml.promote import BootstrapGate, Decision, PromotionLedger, bootstrap_failures
from ml.validate import measure


def test_bootstrap_gate_says_what_is_wrong():
    gate = BootstrapGate(slope_min=0.8, slope_max=1.25, auc_lower_bound=0.6, max_additivity_error=1e-4)
    rng = np.random.default_rng(0)
    margin = rng.normal(-1, 1, 5000)
    y = (rng.random(5000) < 1 / (1 + np.exp(-margin))).astype(float)
    good = measure(y, 1 / (1 + np.exp(-margin)), margin)
    assert bootstrap_failures(gate, good, 1e-6) == []
    steep = measure(y, 1 / (1 + np.exp(-2 * margin)), margin)
    noise = measure(y, np.full(5000, 0.3) + rng.random(5000) / 100, rng.random(5000))
    assert "slope" in bootstrap_failures(gate, steep, 1e-6)[0]
    assert "AUC" in " ".join(bootstrap_failures(gate, noise, 1e-6))
    assert "miss the margin" in bootstrap_failures(gate, good, 1e-2)[0]


def decision(**other) -> Decision:
    values = {"source": "s", "decided_at": dt.datetime(2026, 1, 1), "decision": "promoted", "reason": "bootstrap"}
    values |= {"model_name": "m", "model_version": "1", "run_id": "r", "sha256": "a" * 64, "evidence": {"auc": 0.7}}
    return Decision(**(values | other))


def test_ledger_answers_which_model_scores(tmp_path):
    ledger = PromotionLedger(tmp_path / "promotions.sqlite")
    assert ledger.champion("s") is None
    ledger.append(decision())
    ledger.append(decision(model_version="2", decision="rejected", reason="slope"))
    ledger.append(decision(source="t", model_version="9"))
    assert ledger.champion("s") == decision()


@pytest.mark.parametrize("change", ["delete from promotions", "update promotions set sha256 = 'b'"])
def test_ledger_is_append_only(tmp_path, change):
    path = tmp_path / "promotions.sqlite"
    PromotionLedger(path).append(decision())
    with sqlite3.connect(path) as db, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        db.execute(change)
