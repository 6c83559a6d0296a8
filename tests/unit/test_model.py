"""Training is reproducible and monotone, reasons are proven, files are what was promoted."""

import datetime as dt
import sqlite3
from types import SimpleNamespace

import duckdb
import numpy as np
import polars as pl
import pytest
from model_support import book

from dagster_project.home.settings import PROJECT_ROOT
from dagster_project.night import early_warning_figures
from dagster_project.night.pd_history import Scorer
from dagster_project.night.pipeline import MARTS
from dagster_project.policy import load_policy
from expectations import features as feature_suite
from ml.calibrate import Platt
from ml.features import FEATURE_NAMES, FEATURES, by_name
from ml.model import BOOSTER_FILE, CreditModel, ModelIntegrityError, load_model, model_sha256
from ml.promote import BootstrapGate, Decision, PromotionLedger, bootstrap_failures
from ml.reasons import FAMILIES, explain
from ml.scale import Scale
from ml.score import score_accounts
from ml.train import fit, usable_features
from ml.validate import measure

POLICY = load_policy(PROJECT_ROOT / "policy/default.yaml")
BANNED = ("age", "sex", "marital", "marriage", "education", "nation", "ethnic")


@pytest.fixture(scope="module")
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


def test_feature_list_is_sound():
    assert len(set(FEATURE_NAMES)) == len(FEATURE_NAMES)
    assert {f.family for f in FEATURES} == {f.code for f in FAMILIES}
    assert not [n for n in FEATURE_NAMES if any(word in n.split("_") for word in BANNED)]
    with pytest.raises(KeyError, match="shoe_size"):
        by_name(["shoe_size"])


def test_every_feature_has_a_range_at_the_border():
    checked = {c.kwargs.get("column") for c in feature_suite.suite().checks if "Between" in c.kind}
    # A balance may be any amount that the contract allows; a month's payments may be less than its reversals.
    amounts = {"bill_amount", "pay_amount_last", "pay_amount_mean_3m", "pay_amount_mean_6m"}
    assert set(FEATURE_NAMES) - amounts <= checked


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


def test_reasons_are_adverse_true_and_pass_the_direction_check(model):
    rows = book(800, 7)
    margin = model.fit.margin(rows)
    found = explain(model, rows, margin, POLICY.reasons)
    assert found.additivity_error < 1e-4
    codes = found.codes.to_dicts()
    families = {f.code: f for f in FAMILIES}
    stated = [(i, code) for i, row in enumerate(codes) for code in row.values() if code and code != "none"]
    assert len(stated) > 500
    for code in {c for _, c in stated}:
        at = [i for i, c in stated if c == code]
        assert rows[at].select(families[code].fact(model.reference, POLICY.reasons)).to_series().all(), code
        names = [f.name for f in by_name(model.fit.features) if f.family == code]
        typical = rows[at].with_columns(pl.lit(model.reference[n]).alias(n) for n in names)
        assert (margin[at] - model.fit.margin(typical) >= POLICY.reasons.min_margin_fall).all(), code
    # Nobody without arrears is told about arrears.
    assert not {"RC01", "RC02"} & {c for i, c in stated if rows["max_dpd_6m"][i] == 0}


def test_what_a_reason_says_is_true_in_the_raw_columns(model):
    """Stated apart from the families' own facts, in the words of the sentences."""
    rows = book(3000, 11)
    codes = explain(model, rows, model.fit.margin(rows), POLICY.reasons).codes
    told = {
        c: rows.filter(pl.any_horizontal((codes[n] == c).fill_null(value=False) for n in codes.columns))
        for c in ("RC01", "RC02", "RC04", "RC13", "RC14")
    }
    assert told["RC01"].height and (told["RC01"]["dpd_now"] > 0).all()
    assert told["RC02"].height and (told["RC02"]["max_dpd_6m"] > 0).all()
    assert told["RC04"].height and (told["RC04"]["bill_amount"] / 1e4 >= 0.5).all(), "now, not some months ago"
    assert (told["RC13"]["pay_ratio_6m"] < 0.5).all() and (told["RC13"]["bill_amount"] > 0).all()
    assert (told["RC14"]["limit_amount"] < 1e5).all()


def test_every_account_has_reasons_or_a_stated_none(model):
    found = explain(model, book(800, 8), model.fit.margin(book(800, 8)), POLICY.reasons).codes
    assert found["reason_1"].null_count() == 0
    assert found.width == POLICY.reasons.max_reasons
    assert (found["reason_1"] == "none").any()
    none = found.filter(pl.col("reason_1") == "none")
    assert none["reason_2"].null_count() == none.height


def test_pd_is_calibrated_then_floored_and_one_in_default(model):
    rows = book(400, 12).with_columns(in_default=pl.int_range(pl.len()) % 2 == 0)
    calibrated, in_default = model.calibrated_pd(rows), rows["in_default"].to_numpy()
    floor = float(np.median(calibrated))
    pd, low = model.pd(rows, pd_floor=floor), calibrated < floor
    assert np.allclose(calibrated, 1 / (1 + np.exp(-model.fit.margin(rows))), atol=1e-8), "calibrated, not floored"
    assert (pd[low & ~in_default] == floor).all() and (low & ~in_default).any()
    assert np.array_equal(pd[~low & ~in_default], calibrated[~low & ~in_default]) and (~low & ~in_default).any()
    assert (pd[in_default] == 1).all() and (low & in_default).any(), "in default, the floor does not count"


def test_scores_history_and_warnings_give_a_loan_one_pd(model):
    """On loans in the first month that is observed, a third of them below the floor, every tenth in default."""
    policy = POLICY.model_copy(update={"scale": Scale(**vars(POLICY.scale) | {"pd_floor": 0.2})})
    source, first = "ally_auto", POLICY.sources["ally_auto"].observe_from_month
    rows = book(600, 13).with_columns(source=pl.lit(source), mob=pl.lit(float(first - 1)))
    rows = rows.with_columns(in_default=pl.int_range(pl.len()) % 10 == 0)
    scores = score_accounts(
        model, rows, policy.scale, policy.sources[source].score_anchor, policy.reasons, "1"
    ).scores.select("loan_id", "pd")
    assert 100 < (scores["pd"] == 0.2).sum() < 500
    with duckdb.connect() as db:
        db.execute(f"create schema {MARTS}")
        db.execute(f"create table {MARTS}.feat_loan_months as select * from rows")
        history = Scorer(db, source, model, policy.scale.pd_floor, 1).pds(rows["month_on"][0], rows["month_on"][0])
        pipeline = SimpleNamespace(policy=policy)
        new_business = early_warning_figures._new_business(pipeline, db, source, model)
    assert history.select("loan_id", "pd").equals(scores)
    performing = scores.filter(pl.col("pd") < 1)
    assert new_business.select("loan_id", pd="value").sort("loan_id").equals(performing)


def test_only_the_model_turns_margins_into_pds():
    code = [p for room in ("ml", "dagster_project", "expectations") for p in (PROJECT_ROOT / room).rglob("*.py")]
    assert [p.relative_to(PROJECT_ROOT).as_posix() for p in code if "platt.pd(" in p.read_text()] == ["ml/model.py"]


def test_scores_are_complete_and_defaulted_accounts_have_grade_d(model):
    live = book(500, 9)
    scores = score_accounts(
        model, live.reverse(), POLICY.scale, POLICY.sources["taiwan_cards"].score_anchor, POLICY.reasons, "7"
    ).scores
    assert scores["loan_id"].to_list() == live["loan_id"].to_list(), "sorted, none lost"
    defaulted = scores.filter("in_default")
    assert set(defaulted["grade"]) == {"D"}
    assert set(defaulted["pd"]) == {1.0}
    assert set(defaulted["score"]) == {350}
    assert "D" not in set(scores.filter(~pl.col("in_default"))["grade"])
    assert set(scores["model_version"]) == {"7"}


def test_model_survives_its_files(model, tmp_path):
    model.save(tmp_path)
    back = load_model(tmp_path, model_sha256(tmp_path))
    rows = book(100, 10)
    assert np.array_equal(back.fit.margin(rows), model.fit.margin(rows))
    assert (back.platt, back.reference) == (model.platt, model.reference)


def test_swapped_model_file_is_refused_before_it_is_read(model, tmp_path):
    model.save(tmp_path)
    promoted = model_sha256(tmp_path)
    (tmp_path / BOOSTER_FILE).write_bytes(b"\x80\x04planted pickle")
    with pytest.raises(ModelIntegrityError, match="changed after promotion"):
        load_model(tmp_path, promoted)
    (tmp_path / BOOSTER_FILE).unlink()
    with pytest.raises(ModelIntegrityError, match=r"missing: model\.ubj"):
        load_model(tmp_path, promoted)


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
