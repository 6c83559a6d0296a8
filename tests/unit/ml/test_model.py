"""Tests of a model: its saved files are the promoted ones, and it gives the same PD everywhere."""

from types import SimpleNamespace

import duckdb
import numpy as np
import polars as pl
import pytest

from dagster_project.home.settings import PROJECT_ROOT
from dagster_project.night import early_warning_figures, pd_history
from dagster_project.night.pd_history import month_number
from dagster_project.night.pipeline import MARTS
from ml.model import BOOSTER_FILE, ModelIntegrityError, load_model, model_sha256
from ml.scale import Scale
from ml.score import score_accounts
from support.training import POLICY, book


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
    """Scores, PD history and early warnings use the same PD for each loan.

    The loans are in the first month in which their source observes them, because early warnings score new loans only in
    that month. The PD floor applies to many of the loans, and every tenth loan is in default.
    """
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
        db.execute(f"create table {MARTS}.dim_loans as select distinct source, loan_id from rows")
        pipeline, month = SimpleNamespace(policy=policy), month_number(rows["month_on"][0])
        history = pd_history._computed(pipeline, db, source, model, range(month, month + 1), None)
        new_business = early_warning_figures._new_business(pipeline, db, source, model)
    assert history.pds_in(rows["month_on"][0]).equals(scores)
    performing = scores.filter(pl.col("pd") < 1)
    assert new_business.select("loan_id", pd="value").sort("loan_id").equals(performing)


def test_only_the_model_turns_margins_into_pds():
    code = [p for room in ("ml", "dagster_project", "expectations") for p in (PROJECT_ROOT / room).rglob("*.py")]
    assert [p.relative_to(PROJECT_ROOT).as_posix() for p in code if "platt.pd(" in p.read_text()] == ["ml/model.py"]
