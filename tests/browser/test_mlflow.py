"""Browser tests of MLflow's pages: they show what a modeller looks for, and no errors occur on them."""

import json
import sqlite3

import pytest
from playwright.sync_api import expect

from ml.experiment import VIEW_KEY, VIEW_NAME
from support.browser import Troubles, new_context

expect.set_options(timeout=30_000)  # two shared cores
MODEL = "credit_pd_taiwan_cards"


@pytest.fixture
def decided(two_models):
    """Return the run ID and the evidence of each decision in the promotion ledger.

    The keys are `promoted` for the champion and `held` for the challenger.
    """
    with sqlite3.connect(two_models.settings.ledger_file) as db:
        rows = db.execute("select decision, run_id, evidence from promotions order by decision_no").fetchall()
    return {decision: (run_id, json.loads(evidence)) for decision, run_id, evidence in rows}


@pytest.fixture
def runs(decided):
    return [decided[which][0] for which in ("promoted", "held")]


def test_experiments_are_listed_with_what_is_in_them(page, mlflow):
    page.goto(f"{mlflow}/#/experiments?workflowType=machine_learning")
    expect(page.get_by_role("link", name=MODEL)).to_be_visible()
    expect(page.get_by_text("Models of the probability of default")).to_be_visible()


def test_table_of_runs_says_which_is_which_and_shows_the_figures(page, mlflow, decided):
    page.goto(f"{mlflow}/#/experiments/1/runs?viewStateShareKey={VIEW_KEY}")
    expect(page.get_by_role("button", name=VIEW_NAME)).to_be_visible()
    for version, decision in (("v1", "promoted"), ("v2", "held")):
        evidence = decided[decision][1]
        expect(page.get_by_role("link", name=f"{version} {decision} · AUC {evidence['auc']:.4f}")).to_be_visible()
        for figure in ("auc", "auc_low", "brier", "slope"):
            expect(page.get_by_text(str(evidence[figure]), exact=True).first).to_be_visible()


def test_run_shows_its_decision_metrics_and_data(page, mlflow, runs, decided):
    page.goto(f"{mlflow}/#/experiments/1/runs/{runs[0]}")
    expect(page.get_by_role("heading", name="v1 promoted")).to_be_visible()
    expect(page.get_by_text(str(decided["promoted"][1]["auc"]), exact=True).first).to_be_visible()
    train = decided["promoted"][1]["rows_train"]
    expect(page.get_by_text(f"train, {train:,} rows")).to_be_visible()
    expect(page.get_by_text("taiwan_cards_train")).to_be_visible()


def test_learning_curves_are_drawn(page, mlflow, runs):
    page.goto(f"{mlflow}/#/experiments/1/runs/{runs[0]}/model-metrics")
    expect(page.get_by_text("learning_curve").first).to_be_visible()
    # the heading of its chart; the key under a chart may repeat the name
    expect(page.get_by_role("heading", name="val_logloss")).to_be_visible()
    expect(page.locator(".js-plotly-plot .scatterlayer path.js-line").first).to_be_attached()


def test_two_runs_compare(page, mlflow, runs, decided):
    chosen = "%5B" + ",".join(f"%22{run}%22" for run in runs) + "%5D"
    page.goto(f"{mlflow}/#/compare-runs?runs={chosen}&experiments=%5B%221%22%5D")
    expect(page.get_by_text("Comparing 2 Runs")).to_be_visible()
    for _, evidence in decided.values():
        shown = str(round(evidence["auc"], 3))  # three places, without zeros at the end
        expect(page.get_by_role("grid").get_by_text(shown, exact=True).first).to_be_attached()
    expect(page.get_by_text("max_depth").first).to_be_visible()


def test_model_shows_its_card_and_who_is_champion(page, mlflow, decided):
    page.goto(f"{mlflow}/#/models/{MODEL}")
    expect(page.get_by_role("heading", name=f"{MODEL}, version 1: promoted")).to_be_visible()
    low, high = (decided["promoted"][1][f"auc_{end}"] for end in ("low", "high"))
    expect(page.get_by_text(f"({low:.4f} to {high:.4f})").first).to_be_visible()
    for alias in ("champion", "candidate"):
        expect(page.get_by_text(f"@ {alias}").first).to_be_attached()
    page.goto(f"{mlflow}/#/models/{MODEL}/versions/2")
    expect(page.get_by_role("heading", name=f"{MODEL}, version 2: held")).to_be_visible()
    expect(page.get_by_text("@ candidate")).to_be_visible()


def test_troubles_are_noticed(browser, mlflow):
    """Errors of our own server's pages are recorded, and blocked requests to other machines are not.

    Without this test, the check for errors in every other test could pass because nothing is recorded.
    """
    troubles = Troubles()
    context = new_context(browser)
    troubles.watch(context)
    page = context.new_page()
    page.goto(f"{mlflow}/health")
    page.evaluate("fetch('/ajax-api/2.0/no-such-page')")
    page.evaluate("fetch('http://foreign.invalid/x').catch(() => 0)")
    page.evaluate("console.error('ours')")
    page.wait_for_timeout(500)
    context.close()
    assert any("no-such-page" in t for t in troubles.found)
    assert any("ours" in t for t in troubles.found)
    assert not any("foreign" in t for t in troubles.found)
