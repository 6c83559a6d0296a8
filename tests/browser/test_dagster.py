"""Browser tests of Dagster's pages: they show what a data engineer looks for, and no errors occur on them."""

import pytest
from playwright.sync_api import expect

from dagster_project.defs.instance import open_instance

expect.set_options(timeout=60_000)  # two shared cores, and the code location has to load


def test_graph_reads_from_left_to_right(page, dagster):
    page.goto(f"{dagster}/asset-groups")
    places = []
    for group in ("landing", "raw", "staging", "intermediate", "marts", "model", "scores", "published"):
        node = page.locator("svg").get_by_text(group, exact=True).first
        expect(node).to_be_visible()
        places.append(node.bounding_box()["x"])
    assert places == sorted(places)


def test_table_shows_rows_columns_owner_and_where_a_column_comes_from(page, dagster):
    page.goto(f"{dagster}/assets/warehouse/fct_loan_months?view=overview")
    for text in ("180,000", "data-engineering", "Largest days past due in the month.", "dbt"):
        expect(page.get_by_text(text).first).to_be_visible()
    page.goto(f"{dagster}/assets/warehouse/fct_loan_months?view=lineage&column=balance")
    expect(page.get_by_text("int_loan_months").first).to_be_visible()


def test_scores_show_their_grades(page, dagster):
    page.goto(f"{dagster}/assets/scores/scores?view=overview")
    expect(page.get_by_text("taiwan_cards: grades").first).to_be_visible()
    expect(page.get_by_text("R10", exact=True).first).to_be_visible()
    expect(page.get_by_text("credit-risk").first).to_be_visible()


def test_failed_check_says_what_to_do_and_where(page, dagster):
    page.goto(f"{dagster}/assets/raw/taiwan_cards/statements?view=checks&checkDetail=balance__to_not_be_null")
    expect(page.get_by_text("inspect the failing rows before anything downstream uses them").first).to_be_visible()
    expect(page.get_by_text("UCI_Credit_card.csv (delivery").first).to_be_visible()
    expect(page.get_by_text("line 17").first).to_be_visible()
    expect(page.get_by_text("blocking").first).to_be_visible()


def test_stopped_night_explains_itself_on_its_first_screen(page, dagster, stopped_night):
    with open_instance(stopped_night.settings) as instance:
        (run, *_) = instance.get_runs(limit=1)
    page.goto(f"{dagster}/runs/{run.run_id}")
    expect(page.get_by_text("raw/taiwan_cards/statements: balance__to_not_be_null; 6 rows").first).to_be_visible()
    page.goto(f"{dagster}/runs")
    expect(page.get_by_text("creditloom/stopped_by: raw/taiwan_cards/statements").first).to_be_visible()


def test_landing_days_that_wait_are_missing_and_a_backfill_dialog_offers_them(page, dagster):
    page.goto(f"{dagster}/assets/landing/ally_auto?view=partitions")
    for text in ("Missing (2)", "2017-06-15", "2017-07-15"):
        expect(page.get_by_text(text).first).to_be_visible()
    page.get_by_role("button", name="Materialize").first.click()
    page.get_by_role("button", name="Missing", exact=True).click()
    expect(page.get_by_text("2 partitions", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Launch backfill")).to_be_enabled()


@pytest.mark.parametrize("name", ["every_night", "every_week", "landing"])
def test_automation_is_on(page, dagster, name):
    page.goto(f"{dagster}/automation")
    expect(page.get_by_text(name, exact=True).first).to_be_visible()


def test_night_can_be_replayed_and_rebuilt_from_the_launchpad(page, dagster):
    page.goto(f"{dagster}/locations/creditloom/jobs/nightly/playground")
    expect(page.get_by_text("intake").first).to_be_visible()
    expect(page.get_by_text("No errors").first).to_be_visible()
