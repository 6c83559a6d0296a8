"""Tests of a complete night on the real card data: its figures, its models, and what a second night does.

They also check that the same night in another home gives the same result to the byte.
"""

import json
import os
import re
import subprocess
import sys

import polars as pl
import pytest

from dagster_project.home.locks import NightRunningError, home_lock
from dagster_project.home.settings import PROJECT_ROOT
from dagster_project.ingestion.lake.receipts import ReceiptBook
from dagster_project.ingestion.persons.originals import open_original
from dagster_project.operations.run_night import Exit, run_night
from dagster_project.snapshots.snapshot import current_snapshot
from ml.experiment import CURVE_POINTS
from ml.promote import PromotionLedger
from ml.registry import CHAMPION
from support.homes import pipeline_in

PICTURES = ("roc", "calibration", "score_distribution", "importance", "learning_curve")


@pytest.fixture(scope="module")
def snapshot(first_night):
    return current_snapshot(first_night / "published")


@pytest.fixture(scope="module")
def metrics(snapshot):
    return snapshot.metrics()


def test_every_line_and_every_cent_is_accounted_for(metrics):
    for scope in ("ingest.", "ingest.taiwan_cards."):
        rows = [metrics[f"{scope}{o}_rows"] for o in ("landed", "accepted", "quarantined", "duplicate")]
        minor = [metrics[f"{scope}{o}_minor"] for o in ("landed", "accepted", "quarantined", "duplicate")]
        assert rows == [30_000, 30_000, 0, 0]
        assert minor == [94_954_177_700, 94_954_177_700, 0, 0]


def test_every_account_has_a_score_a_grade_and_reasons_or_none(snapshot, metrics):
    scores = pl.read_parquet(snapshot.folder / "scores.parquet")
    assert scores.height == metrics["scores.taiwan_cards.count"] == 30_000
    assert scores["loan_id"].n_unique() == 30_000
    needed = scores.select("pd", "score", "grade", "reason_1", "model_version", "as_of_on")
    assert needed.null_count().sum_horizontal().item() == 0
    codes = set(pl.read_parquet(snapshot.folder / "reason_codes.parquet")["code"])
    for place in range(1, 5):
        assert set(scores[f"reason_{place}"].drop_nulls()) <= codes | {"none"}
    assert (scores["reason_1"] == "none").sum() == metrics["scores.taiwan_cards.no_reason"] < 10_000
    assert scores.filter("in_default").height == 463


def test_the_model_is_as_good_as_promised(metrics):
    model = {
        k.removeprefix("model.taiwan_cards."): v for k, v in metrics.items() if k.startswith("model.taiwan_cards.")
    }
    assert model["cv_auc"] >= 0.780
    assert 0.770 <= model["cv_auc_performing"] < model["cv_auc"]
    assert model["auc"] >= 0.770
    assert model["auc_low"] > 0.60
    assert 0.9 <= model["slope"] <= 1.1
    assert model["gini"] == pytest.approx(2 * model["auc"] - 1, abs=2e-6)
    assert model["ks"] > 0.38
    ablation = {k: v for k, v in model.items() if k.startswith("ablation_")}
    base = ablation.pop("ablation_behavioural_auc")
    assert set(ablation) == {f"ablation_with_{b}_auc" for b in ("limit", "status", "amount")}
    assert all(value > base for value in ablation.values())
    assert model["reason_additivity_error"] < 1e-4
    assert model["reason_direction_failures"] <= 0.001 * model["reason_candidates"]


def test_published_scores_reproduce_the_reported_auc(snapshot, metrics, first_night):
    """The AUC computed from the published scores and the labels equals the AUC that the metrics report."""
    from sklearn.metrics import roc_auc_score

    scores = pl.read_parquet(snapshot.folder / "scores.parquet")
    training = pl.read_parquet(first_night / "warehouse/build/training_set_taiwan_cards.parquet")
    oos = training.filter((pl.col("block") == "oos") & pl.col("exclusion_reason").is_null())
    joined = oos.select("loan_id", "label").join(scores, on="loan_id")
    assert joined.height == metrics["model.taiwan_cards.rows"]
    assert roc_auc_score(joined["label"], joined["pd"]) == pytest.approx(metrics["model.taiwan_cards.auc"], abs=1e-4)


def test_snapshot_has_the_fixed_names(snapshot):
    months = pl.read_parquet(snapshot.folder / "fct_loan_months.parquet")
    fixed = "source loan_id month_on dpd_max dpd_end due paid balance state arrears_basis"
    assert set(fixed.split()) <= set(months.columns)
    assert months["due"].null_count() == months.height, "not given by the source: null, never 0"
    names = pl.read_parquet_schema(snapshot.folder / "scores.parquet")
    fixed = "source loan_id as_of_on pd score grade reason_1 reason_2 reason_3 reason_4 model_version"
    assert set(fixed.split()) <= set(names)
    assert "borrower_attributes" not in {p.stem for p in snapshot.folder.glob("*.parquet")}


def test_figures_that_the_cards_are_too_short_for_are_listed_and_not_zero(snapshot, metrics):
    """Portfolio figures that the card data cannot give are empty instead of zero, and a metric gives the reason.

    The cards have no opening dates, six months of data, and a PD with a horizon of one month. So they have no vintages,
    no static pools and no expected loss.
    """
    said = {k.rpartition(".")[2]: v for k, v in metrics.items() if k.startswith("portfolio.taiwan_cards.coverage.")}
    assert said == {
        "vintages": "none: the source does not say when a loan was opened, so there is no cohort",
        "static_pools": "none: the source does not say when a loan was opened, so there is no cohort",
        "roll_rates": "available",
        "transitions": "short: moves of 5 months were delivered; the matrix needs 12",
        "loss_given_default": "short: the policy's value is used: workouts were followed for 5 months, 12 are needed",
        "expected_loss": "none: the model's PD does not look twelve months ahead, and no later months were delivered",
        "client_money": "none: the source delivers no account of client money",
    }
    for name in ("vintages", "static_pools", "expected_losses", "loss_movement", "client_money"):
        assert pl.read_parquet(snapshot.folder / f"port_{name}.parquet").is_empty(), name
    assert not [k for k in metrics if re.match(r"portfolio\.taiwan_cards\.(stage|movement|static)", k)]
    grades = pl.read_parquet(snapshot.folder / "port_grades.parquet")
    assert grades["price"].null_count() == grades.height > 5
    assert metrics["portfolio.taiwan_cards.grades.status"] == "amber"  # .21


def test_card_moves_equal_an_independent_computation(snapshot):
    months = pl.read_parquet(snapshot.folder / "fct_loan_months.parquet").sort("loan_id", "month_on")
    followed = months.with_columns(to_state=pl.col("state").shift(-1).over("loan_id")).drop_nulls("to_state")
    expected = followed.group_by("month_on", from_state="state", to_state="to_state").len()
    moves = pl.read_parquet(snapshot.folder / "port_roll_rates.parquet")
    both = moves.join(expected, on=["month_on", "from_state", "to_state"], how="full")
    assert both.height == moves.height == expected.height > 70
    assert (both["loans"] == both["len"]).all()
    assert moves["loans"].sum() == 5 * 30_000


def test_all_declared_checks_were_evaluated(metrics):
    assert metrics["checks.evaluated"] == metrics["checks.declared"] > 150
    assert metrics["checks.failed"] == 0


def test_same_night_in_another_home_is_the_same_to_the_byte(snapshot, metrics, tmp_path):
    """A night in another empty home, run by another process, gives the same snapshot and the same model to the byte.

    Only the metrics that describe the run itself may differ.
    """
    environment = os.environ | {"CREDITLOOM_HOME": str(tmp_path / "elsewhere")}
    line = [sys.executable, "-m", "dagster_project.cli", "night", "--json"]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    answer = json.loads(done.stdout)
    assert answer["snapshot_sha256"] == snapshot.sha256
    other = current_snapshot(tmp_path / "elsewhere" / "published").metrics()
    assert other["model.taiwan_cards.sha256"] == metrics["model.taiwan_cards.sha256"]
    assert {k: v for k, v in other.items() if not k.startswith("run.")} == {
        k: v for k, v in metrics.items() if not k.startswith("run.")
    }


def test_second_night_has_nothing_to_do(home_after_night):
    pipeline = pipeline_in(home_after_night)
    result = run_night(pipeline)
    assert (result.exit, result.run_id, result.changed) == (Exit.PUBLISHED, None, False)


def test_redelivered_file_is_counted_as_duplicate_and_changes_no_score(home_after_night, snapshot):
    pipeline = pipeline_in(home_after_night)
    (first,) = pipeline.ingest_context.book.all("taiwan_cards")
    original = open_original(pipeline.ingest_context, "taiwan_cards", first.sha256)
    (home_after_night / "landing/taiwan_cards/again.csv").write_bytes(original)
    result = run_night(pipeline)
    assert result.exit is Exit.PUBLISHED
    metrics = result.snapshot.metrics()
    assert metrics["ingest.duplicate_rows"] == metrics["ingest.accepted_rows"] == 30_000
    assert metrics["ingest.landed_rows"] == 60_000
    assert metrics["model.taiwan_cards.version"] == "1", "the champion stays"
    for name in ("scores", "fct_loan_months", "feat_loan_months"):
        a, b = (s.folder / f"{name}.parquet" for s in (snapshot, result.snapshot))
        assert a.read_bytes() == b.read_bytes()


def test_two_nights_do_not_share_a_home(home_after_night):
    pipeline = pipeline_in(home_after_night)
    with home_lock(home_after_night), pytest.raises(NightRunningError, match="another night"):
        run_night(pipeline, force=True)


def test_swapped_champion_scores_nothing(home_after_night):
    pipeline = pipeline_in(home_after_night)
    decision = pipeline.ledger.champion("taiwan_cards")
    path = pipeline.model_folder(decision.sha256) / "model.ubj"
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    result = run_night(pipeline, force=True)
    assert result.exit is Exit.FAILED
    assert "changed after promotion" in result.failures[0]


def test_mlflow_holds_what_a_modeller_compares(first_night, metrics):
    import mlflow

    pipeline = pipeline_in(first_night)
    mlflow.set_tracking_uri(pipeline.settings.mlflow_uri)
    mlflow.set_registry_uri(pipeline.settings.mlflow_uri)  # another night of this process may have set its own
    client = mlflow.MlflowClient()
    version = client.get_model_version_by_alias("credit_pd_taiwan_cards", CHAMPION)
    run = client.get_run(version.run_id)
    decision = pipeline.ledger.champion("taiwan_cards")
    assert (str(version.version), run.info.run_id) == (decision.model_version, decision.run_id)
    for name in ("auc", "gini", "ks", "slope", "cv_auc", "brier"):
        assert run.data.metrics[name] == metrics[f"model.taiwan_cards.{name}"]
    assert {"learning_rate", "max_depth", "seed", "split_salt"} <= set(run.data.params)
    wanted = {
        "git_revision",
        "deliveries",
        "snapshot",
        "training_set_sha256",
        "model_sha256",
        "manifest_sha256",
        "lock_sha256",
    }
    assert wanted <= set(run.data.tags)
    blocks = {d.dataset.name.rpartition("_")[2]: json.loads(d.dataset.profile) for d in run.inputs.dataset_inputs}
    assert {b: p["num_rows"] for b, p in blocks.items()} == {
        b: metrics[f"model.taiwan_cards.rows_{b}"] for b in ("train", "val", "cal", "oos")
    }
    schemas = " ".join(d.dataset.schema for d in run.inputs.dataset_inputs)
    assert not [name for name in ("borrower_id", "loan_id") if name in schemas]
    curve = client.get_metric_history(run.info.run_id, "learning_curve/val_logloss")
    best = min(curve, key=lambda point: point.value)
    assert (best.step, best.value) == (run.data.metrics["rounds"], run.data.metrics["logloss_val"])
    assert len(curve) <= CURVE_POINTS + 2
    assert (run.info.run_name, run.data.tags["decision"]) == (
        f"v1 promoted · AUC {decision.evidence['auc']:.4f} · xgboost, 29 features · data to 2005-09",
        "promoted",
    )
    assert version.description == mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/card.md")
    assert decision.sha256 in version.description
    pictures = {a.path for a in client.list_artifacts(run.info.run_id, "pictures")}
    assert pictures == {f"pictures/{n}.png" for n in PICTURES}
    signature = mlflow.models.get_model_info(f"models:/credit_pd_taiwan_cards@{CHAMPION}").signature
    assert {str(i.type) for i in signature.inputs} == {"DataType.double"}


def test_registered_model_gives_the_champions_margins(first_night):
    """The model that MLflow serves computes the same margins as the champion that the night scores with.

    No file in MLflow's folder is a pickle.
    """
    import mlflow
    import numpy as np
    import xgboost as xgb

    from dagster_project.night.champion import load_champion

    pipeline = pipeline_in(first_night)
    mlflow.set_tracking_uri(pipeline.settings.mlflow_uri)
    mlflow.set_registry_uri(pipeline.settings.mlflow_uri)  # another night of this process may have set its own
    served = mlflow.xgboost.load_model(f"models:/credit_pd_taiwan_cards@{CHAMPION}")
    model, _ = load_champion(pipeline, "taiwan_cards")
    rows = pl.read_parquet(first_night / "warehouse/build/training_set_taiwan_cards.parquet").head(200)
    names = list(model.fit.features)
    data = xgb.DMatrix(rows.select(pl.col(names).cast(pl.Float64)).to_numpy(), feature_names=names)
    through = served.predict(data, output_margin=True, iteration_range=(0, model.fit.best_iteration + 1))
    assert np.allclose(through, model.fit.margin(rows), atol=1e-6)
    assert not [p for p in (first_night / "mlflow").rglob("*") if p.suffix in {".pkl", ".pickle", ".joblib"}]


def test_ledger_and_receipts_record_each_step(first_night):
    decision = PromotionLedger(first_night / "mlflow/promotions.sqlite").champion("taiwan_cards")
    assert (decision.reason, decision.decision) == ("bootstrap", "promoted")
    (receipt,) = ReceiptBook(first_night / "lake/receipts.sqlite").all()
    assert (receipt.state, receipt.file_name) == ("ACCEPTED", "UCI_Credit_card.csv")


def test_run_is_seen_in_the_dagster_instance(first_night):
    from dagster_project.defs.instance import open_instance

    with open_instance(pipeline_in(first_night).settings) as instance:
        (run,) = instance.get_runs()
        assert run.is_success
        assert not instance.telemetry_enabled
        assert not instance.nux_enabled


def test_every_metric_is_in_the_docs_and_every_documented_one_exists(metrics):
    """Every metric of a real night is documented in `docs/metrics.md`, and the night has every documented metric.

    Exceptions are the documented metrics that only other sources have. The test lists their names.
    """
    documented = set()
    for line in (PROJECT_ROOT / "docs/metrics.md").read_text().splitlines():
        if not line.startswith("| `"):
            continue
        prefix = ""
        for name in re.findall(r"`([^`]+)`", line.split(" | ")[0]):
            prefix = prefix if name.startswith(".") else name.rpartition(".")[0]
            documented |= set(_expand(prefix + name if name.startswith(".") else name))
    patterns = [re.escape(d).replace(r"<source>", "[a-z_]+").replace("…", ".+") for d in documented]
    patterns = [p.replace(r"<grade>", "[RD][0-9]*") for p in patterns]
    patterns = [re.sub("<(reason|subject|status)>", "[a-z_]+", p) for p in patterns]
    unknown = [key for key in metrics if not any(re.fullmatch(p, key) for p in patterns)]
    assert unknown == []
    elsewhere = {"auc_oos", "slope_oos", "auc_oot", "slope_oot", "rows_oot"}
    absent = [d for d, p in zip(documented, patterns, strict=True) if not any(re.fullmatch(p, key) for key in metrics)]
    on_yearly_pd = re.compile(r"portfolio\.<source>\.(stage_\d|movement|static_pools)\.")
    assert {d.rpartition(".")[2] for d in absent if not on_yearly_pd.match(d)} <= elsewhere


def _expand(name: str) -> list[str]:
    """Expand the braces in the name of a metric: `a.{b,c}_d` gives `a.b_d` and `a.c_d`.

    A name without braces is returned as the only item of the list.
    """
    found = re.search(r"{([^}]+)}", name)
    if not found:
        return [name]
    return [e for part in found[1].split(",") for e in _expand(name[: found.start()] + part + name[found.end() :])]


def test_quarantined_delivery_is_listed_with_file_and_reason(home_after_night):
    (home_after_night / "landing/taiwan_cards/odd.csv").write_text("a,b\n1,2\n3,4\n")
    environment = os.environ | {"CREDITLOOM_HOME": str(home_after_night)}
    line = [sys.executable, "-m", "dagster_project.cli", "night"]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    said = done.stderr.replace("\n", " ")
    assert "QUARANTINED: taiwan_cards/odd.csv: 2 of 2 lines quarantined" in said
    assert "schema_drift" in said
