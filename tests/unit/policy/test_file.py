"""Tests of reading the policy file, and of the page `docs/policy.md`.

Each error in the file is reported with its line, its key, and the values that are allowed.
"""

import re
from io import StringIO
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from dagster_project.cli import app, shared
from dagster_project.home.settings import PROJECT_ROOT
from dagster_project.policy import PolicyError, load_policy
from dagster_project.policy.page import PAGE, page

DEFAULT = (PROJECT_ROOT / "policy/default.yaml").read_text()
SHARE_30 = "early_warning.indicators.share_30_plus"
MODEL_PD = "early_warning.indicators.default_rate_to_pd"


def errors_of(path: Path, text: str) -> list[str]:
    path.write_text(text)
    with pytest.raises(PolicyError) as error:
        load_policy(path)
    return str(error.value).splitlines()[1:]


def line_of(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1


# What stands in the default file, what is written instead, the key at fault, and the words of the error.
WRONG = [
    # bounds
    ("max_bad_row_share: 0.01", "max_bad_row_share: 7", "ingestion.max_bad_row_share", "7.*a number from 0 to 1"),
    ("pd_floor: 0.0005", "pd_floor: -5", "scale.pd_floor", "-5.*above 0, below 1"),
    ("max_depth: 3", "max_depth: deep", "training.max_depth", "'deep' is not allowed.*a whole number"),
    ("owner: team:fraud", "owner: fraud", "early_warning.indicators.first_payment_default.owner", "e-mail address"),
    ("max_depth: 3", "max_depth: -3", "training.max_depth", "-3.*a whole number from 1 to 20"),
    ("cv_folds: 5", "cv_folds: 1", "training.cv_folds", "2 or more"),
    ("subsample: 0.8", "subsample: .nan", "training.subsample", "nan.*above 0, at most 1"),
    ("threads: 2", "threads: yes", "training.threads", "True.*a whole number"),
    ("odds: 3.5", 'odds: "3.5"', "sources.taiwan_cards.score_anchor.odds", "'3.5'.*a number, above 0"),
    ("retention_years: 5", "retention_years: 11", "personal_data.retention_years", "from 0 to 10"),
    ("retention_years: 5 ", "retention_years: ", "personal_data.retention_years", "nothing is not allowed"),
    ("correlation: 0.15", "correlation: 1", "portfolio.ifrs9.correlation", "above 0, below 1"),
    ("stress_factor: -2.0", "stress_factor: 2.0", "portfolio.ifrs9.stress_factor", "2.0.*-5 or more, below 0"),
    ("discounting: mid_period", "discounting: never", "portfolio.ifrs9.discounting", "mid_period, end_of_period"),
    ("salt: creditloom-split-1", 'salt: ""', "split.salt", "text, not empty"),
    ("data: team:data-engineering", "data: nobody", "owners.data", "`team:<name>` or an e-mail address"),
    ("deferral_to: 2020-06-30", "deferral_to: June", "sources.ally_auto.deferral_to", "a date such as 2020-03-31"),
    ("deferral_to: 2020-06-30", "deferral_to: 2020-13-30", "sources.ally_auto.deferral_to", "month must be in 1..12"),
    ("channels: [log, webhook]", "channels: [log, pigeon]", "early_warning.channels", "a list of log, webhook"),
    ("val: [60, 69]", "val: [60]", "split.val", r"an item is missing; allowed: \[first, last\]"),
    ("val: [60, 69]", "val: [60, 100]", "split.val", "100 is not allowed.*from 0 to 99"),
    ("  exposure:\n", "  exposure: 7\n  expose:\n", "portfolio.exposure", "7 is not allowed; allowed: a mapping"),
    # orders
    ("fail_hours: 54", "fail_hours: 30", "freshness.fail_hours", r"\(30\) must be above warn_hours \(30\)"),
    ("max_default_rate: 0.6", "max_default_rate: 0.0001", "training_data.max_default_rate", "above min_default_rate"),
    ("min_defaults: 30", "min_defaults: 501", "training_data.min_defaults", r"not be above min_rows \(500\)"),
    ("early_stopping_rounds: 100", "early_stopping_rounds: 2001", "training.early_stopping_rounds", "max_rounds"),
    ("score_max: 950", "score_max: 350", "scale.score_max", r"must be above score_min \(350\)"),
    ("R1: 0.0\n", "R1: 0.0001\n", "scale.grade_edges.R1", "must be 0"),
    ("R3: 0.001560", "R3: 0.0001", "scale.grade_edges.R3", r"must be above R2 \(0.000781\)"),
    ("R12: 0.444444", "R12: 1.0", "scale.grade_edges.R12", "0 or more, below 1"),
    ("R12: 0.444444", "D: 0.444444", "scale.grade_edges.D", "accounts in default"),
    ("poor: 350", "poor: 300", "scale.bands.poor", r"must be score_min \(350\)"),
    ("good: 600, ", "good: 550, ", "scale.bands.good", r"must be above fair \(550\)"),
    ("excellent: 700", "excellent: 951", "scale.bands.excellent", r"must not be above score_max \(950\)"),
    ("val: [60, 69]", "val: [69, 60]", "split.val", "must not be below the first"),
    ("val: [60, 69]", "val: [59, 69]", "split", "exactly once; bucket 59 is in two"),
    ("val: [60, 69]", "val: [61, 69]", "split", "exactly once; bucket 60 is in none"),
    ("oot_months: 6", "oot_months: 12", "split.oot_min_cohorts", r"must be above oot_months \(12\)"),
    ("slope_max: 1.25", "slope_max: 0.8", "bootstrap_gate.slope_max", r"must be above slope_min \(0.8\)"),
    ("doubtful: 121", "doubtful: 91", "portfolio.risk_classes.doubtful", r"must be above substandard \(91\)"),
    ('"31-60": 0.036', '"31-60": 0.01', "portfolio.provision_rates.31-60", r"must not be below 1-30 \(0.016\)"),
    ('    "31-60": 0.036\n', "", "portfolio.provision_rates", "there is no rate for 31-60"),
    ("    red: 0.06\n", "    red: 0.05\n", "portfolio.static_pools.red", r"must be above amber \(0.05\)"),
    ("min_months: 12", "min_months: 37", "portfolio.loss.min_months", r"must not be above workout_months \(36\)"),
    ("pd_ratio_alone: 3.0", "pd_ratio_alone: 1.5", "portfolio.ifrs9.pd_ratio_alone", r"not be below pd_ratio \(2\)"),
    ("up: {weight: 0.2", "up: {weight: 0.3", "portfolio.ifrs9.scenarios", "add up to 1.1; they must add up to 1"),
    ("{amber: 0.18, red: 0.25}", "{amber: 0.18, red: 0.1}", "portfolio.limits.grade_hhi.red", "must be above amber"),
    ("months_forborne: 12", "months_forborne: 2", "defaults.cure.months_forborne", r"must not be below months \(3\)"),
    ("    red: 0.001 ", "    red: 0.02 ", "early_warning.significance.red", r"must be below amber \(0.01\)"),
    ("red: 1.4\n", "red: 1.2\n", f"{SHARE_30}.red", r"must be above amber \(1.2\)"),
    ("amber: 1.2\n", "amber: 1.0\n", f"{SHARE_30}.amber", "must be above 1 with rule multiple"),
    ("base_months: 12\n", "base_months: 2\n", "early_warning.indicators.roll_0_to_30.base_months", "3 or more"),
    ("base_months: 4 ", "base_months: 0 ", "early_warning.indicators.mob3_30_plus.base_months", "must be 1 or more"),
    ("base_months: 0", "base_months: 6", f"{MODEL_PD}.base_months", "must be 0"),
    ("multiple             # of the model", "points  # of the model", f"{MODEL_PD}.rule",
     "must be multiple"),
    ("channels: [log, webhook]", "channels: [log, log]", "early_warning.channels", "names a channel twice"),
    ("deferral_to: 2020-06-30", "deferral_to: 2020-02-01", "sources.ally_auto.deferral_to", "not be before"),
    ("    deferral_from: 2020-03-01\n", "", "sources.ally_auto.deferral_to", "give both, or neither"),
    ("    default_dpd_min: 90\n", "", "sources.simulated", "default_dpd_min is needed with arrears_basis ledger"),
    ("default_dpd_min: 90", "write_off_min: 5\n    default_dpd_min: 90", "sources.simulated.write_off_min", "imputed"),
    ("portfolio_type: retail", "portfolio_type: corporate", "sources.simulated.portfolio_type", "it has retail, other"),
    # keys
    ("max_depth: 3", "max_depht: 3", "training.max_depht", r"unknown key; did you mean max_depth\?"),
    ("version: 1\n", "version: 1\nsurprise: 2\n", "surprise", "unknown key; known here: version, jurisdiction, owners"),
    ('"31-60": 0.036', '"31-61": 0.036', "portfolio.provision_rates.31-61", r"did you mean 31-60\?"),
    ("    mob3_30_plus:", "    mob4_30_plus:", "early_warning.indicators.mob4_30_plus", "there are share_30_plus"),
    ("  quiet_seconds: 30 ", "  # ", "ingestion.quiet_seconds", "the key is missing; allowed: a whole number from 0"),
    ("seed: 42", "seed: 42\n  seed: 43", "training.seed", r"the key is given in line \d+ already; keep one"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "key", "says"), WRONG, ids=[f"{w[2]}-{n}" for n, w in enumerate(WRONG)])
def test_error_names_line_key_and_remedy(tmp_path: Path, old: str, new: str, key: str, says: str):
    assert old in DEFAULT
    path, text = tmp_path / "policy.yaml", DEFAULT.replace(old, new, 1)
    found = [e for e in errors_of(path, text) if re.search(f": {re.escape(key)}: .*{says}", e)]
    assert len(found) == 1, errors_of(path, text)
    line = int(found[0].removeprefix(f"{path}:").split(":")[0])
    name = key.rsplit(".", 1)[-1]
    at_line = text.splitlines()[line - 1]
    if f"{name}:" not in at_line.replace('"', ""):
        assert "missing" in says or "needed" in says
        assert line == line_of(text, f"{key.split('.')[-2]}:")


def test_all_errors_are_reported_at_once_by_line(tmp_path: Path):
    text = DEFAULT
    for old, new in (
        ("fail_hours: 54", "fail_hours: 5"),
        ("max_depth: 3", "max_depth: -3"),
        ("pd_ratio: 2.0", "pd_ratio: 0"),
    ):
        text = text.replace(old, new)
    path = tmp_path / "policy.yaml"
    assert [e.removeprefix(f"{path}:").split(": ")[:2] for e in errors_of(path, text)] == [
        [str(line_of(text, "fail_hours")), "freshness.fail_hours"],
        [str(line_of(text, "max_depth")), "training.max_depth"],
        [str(line_of(text, "pd_ratio:")), "portfolio.ifrs9.pd_ratio"],
    ]


def test_error_behind_an_alias_has_the_line_where_it_is_written(tmp_path: Path):
    text = DEFAULT.replace("amber: Look into the segment", "ambre: Look into the segment", 1)
    found = [e for e in errors_of(tmp_path / "policy.yaml", text) if "unknown key" in e]
    assert {e.split(":")[1] for e in found} == {str(line_of(text, "ambre:"))}
    assert any("utilisation.escalation.ambre: unknown key; did you mean amber?" in e for e in found)


def test_merged_keys_are_known_and_may_be_overridden(tmp_path: Path):
    text = DEFAULT.replace(
        "    retail: {materiality_amount: 100", "    retail: &retail {materiality_amount: 100"
    ).replace(
        "    other: {materiality_amount: 500, materiality_share: 0.01, value_lost_max: 0.01}",
        "    other: {<<: *retail, materiality_amount: 500}",
    )
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    assert load_policy(path) == load_policy(PROJECT_ROOT / "policy/default.yaml")
    (found,) = errors_of(path, text.replace("materiality_amount: 500", "materiality_amount: -1"))
    assert "defaults.thresholds.other.materiality_amount: -1 is not allowed" in found


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sources: [\n", r"policy.yaml:2: .*expected"),
        ("", r"policy.yaml:1: it is empty, or no mapping"),
        ("- a\n", r"policy.yaml:1: it is empty, or no mapping"),
        ("a: 1\n---\nb: 2\n", "policy.yaml:2: "),
        ("version: &all\n  inner: *all\n", "an alias must not be within its own anchor"),
        ("? [a, b]\n: 1\n", "each key must be text"),
    ],
)
def test_file_that_is_no_policy_is_refused(tmp_path: Path, text: str, says: str):
    (tmp_path / "policy.yaml").write_text(text)
    with pytest.raises(PolicyError, match=says):
        load_policy(tmp_path / "policy.yaml")


def test_file_that_cannot_be_read_is_refused(tmp_path: Path):
    with pytest.raises(PolicyError, match=r"absent\.yaml"):
        load_policy(tmp_path / "absent.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"jurisdiction: D\xe4nemark\n")
    with pytest.raises(PolicyError, match=r"latin\.yaml"):
        load_policy(tmp_path / "latin.yaml")


def test_command_line_shows_each_error_on_a_line_of_its_own(tmp_path: Path, monkeypatch):
    text = DEFAULT.replace("fail_hours: 54", "fail_hours: 5").replace("val: [60, 69]", "val: [59, 69]")
    (tmp_path / "policy.yaml").write_text(text)
    monkeypatch.setenv("CREDITLOOM_POLICY", str(tmp_path / "policy.yaml"))
    monkeypatch.setenv("CREDITLOOM_HOME", str(tmp_path / "home"))
    shown = StringIO()
    monkeypatch.setattr(shared.err, "file", shown)
    monkeypatch.setattr(shared.err, "width", 80)
    done = CliRunner().invoke(app, ["status"])
    assert done.exit_code == 2
    head, *lines = shown.getvalue().splitlines()
    assert head == "creditloom: the policy cannot be used:"
    assert [line.startswith(f"{tmp_path / 'policy.yaml'}:") for line in lines] == [True, True]
    assert lines[1].endswith("bucket 59 is in two of them")


def test_page_is_the_one_that_the_model_makes():
    assert (PROJECT_ROOT / PAGE).read_text() == page(yaml.safe_load(DEFAULT)), "run `make policy-page`"


@pytest.mark.parametrize(
    ("new", "old"),
    [("materiality_amount: 500", "amount: 500"), ("observations_per_year: 3", "snapshots_a_year: 3")],
)
def test_key_of_an_earlier_version_is_refused_with_its_new_name(tmp_path: Path, new: str, old: str):
    found = errors_of(tmp_path / "policy.yaml", DEFAULT.replace(new, old))
    assert any(
        f"{old.split(':', maxsplit=1)[0]}: this key is now called {new.split(':', maxsplit=1)[0]}" in error
        for error in found
    ), found
