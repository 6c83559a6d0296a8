"""Tests that each key of the policy is read by its field and changes a result.

Keys that change no result are listed in `DESCRIPTIVE`, with their purpose.
"""

import datetime as dt
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import dagster as dg
import duckdb
import polars as pl
import pytest
import yaml
from pydantic import BaseModel, SecretStr

from dagster_project.defs.assets.early_warnings import _check
from dagster_project.defs.sensors import landing_sensor
from dagster_project.early_warning.evaluate import evaluate
from dagster_project.home.settings import PROJECT_ROOT, Settings
from dagster_project.ingestion.intake import ingest
from dagster_project.night.champion import training_set_of
from dagster_project.night.guards import guards_of
from dagster_project.night.notify import channels
from dagster_project.night.pipeline import Pipeline, load_pipeline
from dagster_project.night.skip_reasons import why_untrained
from dagster_project.operations.data_subjects import erase_person
from dagster_project.operations.status import _freshness
from dagster_project.policy import Policy
from dagster_project.policy.keys import ANY, Key, find, keys
from dagster_project.portfolio.expected_loss import expected_losses_of, staged
from dagster_project.portfolio.grades import by_grade, concentration
from dagster_project.portfolio.loss_given_default import loss_given_default
from dagster_project.portfolio.pools import static_pools
from ml.calibrate import Platt
from ml.candidate import train_candidate
from ml.model import CreditModel
from ml.promote import bootstrap_failures
from ml.score import score_accounts
from ml.splits import assign
from ml.train import Fit, fit, usable_features
from ml.training_set import TrainingSet
from support.cards import card_file, line
from support.dbt_sql import compiled
from support.persons import agreement, csv_of, deliver, lender_in, person
from support.training import book
from support.warning_figures import series

DEFAULTS: dict[str, Any] = yaml.safe_load((PROJECT_ROOT / "policy/default.yaml").read_text())
LEFT_OUT = object()  # as a value: the key is taken out
Result = Callable[[Policy, Path], object]

DESCRIPTIVE = {
    "version": "which policy was in force; it is recorded in the snapshot, the model card and MLflow",
    "jurisdiction": "where the policy applies; it is recorded in the snapshot",
    "owners.data": "whom the screens name for the data",
    "owners.models": "whom the screens name for the models",
    "owners.risk": "whom the screens name for what is published",
    "early_warning.false_alarm_rate": "what the thresholds promise; tests measure clean books against it",
}


@dataclass(frozen=True)
class Acts:
    """A change of the policy that must change a result.

    `change`: the changed values, by the path of their key. `result`: the function that computes the result from a
    policy. `given`: values that are set both before and after the change, so that the change has an effect.
    """

    change: dict[str, Any]
    result: Result
    given: dict[str, Any] = field(default_factory=dict)


def with_values(*changes: dict[str, Any]) -> dict[str, Any]:
    """Return the values of the default policy file with some values changed.

    Each change maps the path of a key, such as `scale.pd_floor`, to the new value. If the value is `LEFT_OUT`, the key
    is removed.
    """
    values = deepcopy(DEFAULTS)
    for dotted, value in (item for change in changes for item in change.items()):
        *above, last = dotted.split(".")
        inner = values
        for name in above:
            inner = inner.setdefault(name, {})
        if value is LEFT_OUT:
            del inner[last]
        else:
            inner[last] = value
    return values


# --- results: what a night computes, on a few rows ------------------------------------------------------------------


def sql(policy: Policy, home: Path) -> object:
    return compiled(policy)


def freshness(hours: int, policy: Policy, home: Path) -> object:
    return _freshness(SimpleNamespace(policy=policy), dt.datetime.now(dt.UTC) - dt.timedelta(hours=hours, minutes=30))


def pipeline_of(policy: Policy, home: Path) -> Pipeline:
    (home / "policy.yaml").write_text(yaml.safe_dump(policy.model_dump(exclude_unset=True), sort_keys=False))
    return load_pipeline(Settings(home=home / "home", policy=home / "policy.yaml"))


def landed(policy: Policy, home: Path, *, bad: int = 0) -> Pipeline:
    """Return a pipeline with a file of 100 card accounts in its landing folder.

    In the first `bad` lines, the payment is not a number.
    """
    lines = [line(n, paid="x" if n <= bad else "100.0") for n in range(1, 101)]
    pipeline = pipeline_of(policy, home)
    folder = pipeline.ingest_context.landing / "taiwan_cards"
    folder.mkdir(parents=True)
    (folder / "a.csv").write_bytes(card_file(*lines))
    return pipeline


def taken_in(policy: Policy, home: Path) -> object:
    pipeline = landed(policy, home, bad=1)
    (receipt,) = ingest(pipeline.sources["taiwan_cards"], pipeline.ingest_context, pipeline.now())
    return receipt.state


def asked_for(policy: Policy, home: Path) -> object:
    """Return the number of runs that the landing sensor requests for a file that has just arrived."""
    with dg.DagsterInstance.ephemeral() as instance:
        asked = landing_sensor(landed(policy, home)).evaluate_tick(dg.build_sensor_context(instance=instance))
    return len(asked.run_requests or [])


def erased(policy: Policy, home: Path) -> object:
    pipeline = replace(lender_in(home / "home"), policy=policy)
    deliver(
        pipeline, {"people-1.csv": csv_of("people", person(7)), "agreements-1.csv": csv_of("agreements", agreement(7))}
    )
    with patch(
        "dagster_project.operations.data_subjects._now", lambda: dt.datetime(2024, 6, 1)
    ):  # six years after their last event
        return erase_person(pipeline, "C100007", "lender").held is None


def blocks(policy: Policy, home: Path) -> object:
    months = [dt.date(2020, m, 28) for m in range(1, 13)]
    frame = pl.DataFrame(
        {"borrower_id": [f"b{n}" for n in range(300)], "month_on": [months[n % 12] for n in range(300)]}
    )
    return assign(frame, policy.split)["block"].to_list()


def untrained(policy: Policy, home: Path) -> object:
    path = home / "set.parquet"
    book(600).with_columns(exclusion_reason=pl.lit(None, dtype=pl.String)).write_parquet(path)
    stub = SimpleNamespace(policy=policy, has_delivered=lambda _: True, training_set_file=lambda _: path)
    stub.untrained_file = lambda _: home / "untrained"
    return why_untrained(stub, "s")


def guards(policy: Policy, home: Path) -> object:
    return [check for guard in guards_of(pipeline_of(policy, home)) for check in guard.suite.checks]


def observed(policy: Policy, home: Path) -> object:
    """Return the number of observations in the training set of the simulated source.

    The training set is made from 50 loans, each with the same 12 months.
    """
    months = pl.Series("month_on", [dt.date(2020, m, 28) for m in range(1, 13)])
    rows = book(50).drop("month_on").join(months.to_frame(), how="cross")
    rows = rows.with_columns(
        source=pl.lit("simulated"), borrower_id="loan_id", exclusion_reason=pl.lit(None, pl.String)
    )
    with duckdb.connect() as db:
        db.register("rows", rows)
        db.execute("create schema marts")
        db.execute("create table marts.feat_loan_months as select * exclude (label, exclusion_reason) from rows")
        labels = "source, loan_id, month_on, label, exclusion_reason"
        db.execute(f"create table marts.label_loan_months as select {labels} from rows")
        stub = SimpleNamespace(policy=policy, read_warehouse=lambda: db)
        return training_set_of(stub, "simulated").frame.height


FEW = {"training.max_rounds": 40, "training.early_stopping_rounds": 10, "training.learning_rate": 0.3}


def fitted(policy: Policy, home: Path) -> object:
    """Fit a model, and return its margins, its number of boosting rounds, and its AUC on the training rows by round."""
    train, val = book(400), book(200, 1)
    made = fit(train, val, usable_features(train), policy.training, follow_train=True)
    return made.margin(book(50, 2)).tolist(), made.booster.num_boosted_rounds(), made.curve["train_auc"]


def parameters(policy: Policy, home: Path) -> object:
    return policy.training.xgboost(())


def judged(policy: Policy, home: Path) -> object:
    rows = book(700).with_columns(exclusion_reason=pl.lit(None, dtype=pl.String), borrower_id="loan_id")
    places = pl.Series("block", [("train", "train", "val", "cal", "oos")[n % 5] for n in range(rows.height)])
    candidate = train_candidate("s", TrainingSet(rows.with_columns(places), {}), policy.training, policy.reasons)
    return candidate.tags(), candidate.cross_validation.auc


@cache
def model() -> CreditModel:
    train = book(1000)
    policy = Policy.model_validate(with_values(FEW))
    made: Fit = fit(train, book(500, 1), usable_features(train), policy.training)
    good = train.filter(pl.col("label") == 0).select(pl.col(made.features).cast(pl.Float64).median())
    mean = made.contributions(train)[:, :-1].mean(axis=0)
    return CreditModel(
        "s", made, Platt(0.0, 1.0), dict(zip(made.features, map(float, mean), strict=True)), good.row(0, named=True)
    )


def scored(policy: Policy, home: Path) -> object:
    anchor = policy.sources["taiwan_cards"].score_anchor
    return score_accounts(model(), book(400, 7), policy.scale, anchor, policy.reasons, "1").scores.rows()


def first_champion(policy: Policy, home: Path) -> object:
    performance = SimpleNamespace(slope=1.0, auc_low=0.7)
    return bool(bootstrap_failures(policy.bootstrap_gate, performance, 0.00005))


def pools(policy: Policy, home: Path) -> object:
    """Return the static pools of four cohorts.

    Three cohorts reach a default rate of 3 % after 30 months. In the fourth, defaults grow twice as fast.
    """
    month = pl.date_range(dt.date(2018, 1, 1), dt.date(2023, 1, 1), "1mo", eager=True).dt.month_end().to_list()
    rates = {c: list(range(31)) for c in (0, 1, 2)} | {24: [2 * m for m in range(31)]}
    rows = [("l", "loan", "EUR", month[c], m, month[c + m], 1000, hit) for c in rates for m, hit in enumerate(rates[c])]
    names = ["source", "product", "currency", "cohort_on", "mob", "month_on", "loans", "default_loans"]
    vintages = pl.DataFrame(rows, schema=names, orient="row").with_columns(pl.col("mob", "loans").cast(pl.Int32))
    return static_pools(vintages, policy.portfolio.static_pools).rows()


def lost(workouts: int, months: int, policy: Policy, home: Path) -> object:
    names = ("months_since_default", "open_loans", "open_exposure", "ended_exposure", "recovered")
    rows = [(age, workouts, 1000.0, 0.0, 10.0) for age in range(months + 1)]
    return loss_given_default(pl.DataFrame(rows, schema=names, orient="row"), policy.portfolio.loss)


def expected(policy: Policy, home: Path) -> object:
    """Return the stages and expected losses of loans that differ in days past due, PD and remaining months."""
    cases = [
        (dpd, first, first * times + more, months)
        for dpd in (0, 40)
        for first in (0.001, 0.02)
        for times, more in ((1.0, 0.0), (2.2, 0.002), (3.2, 0.0))
        for months in (6, 18, 40)
    ]
    loans = pl.DataFrame(cases, schema=["dpd_end", "pd_first", "pd", "remaining_months"], orient="row").with_columns(
        loan_id=pl.Series([f"L{n:03}" for n in range(len(cases))]),
        month_on=pl.lit(dt.date(2020, 3, 31)),
        currency=pl.lit("EUR"),
        arrears_basis=pl.lit("ledger"),
        exposure_at_default=pl.lit(100_000).cast(pl.Decimal(18, 2)),
        annual_rate=pl.lit(None, dtype=pl.Float64),
        **{name: pl.lit(value=False) for name in ("is_default", "is_probation", "is_forborne", "is_revolving")},
    )
    losses = pl.DataFrame({"currency": ["EUR"], "as_of_on": dt.date(2020, 3, 31), "loss_given_default": [0.4]})
    now = staged(loans, losses, policy.portfolio.ifrs9, policy.portfolio.loss.discount_rate)
    return expected_losses_of(now, now, policy.portfolio.ifrs9).rows()


def graded(policy: Policy, home: Path) -> object:
    """Return the figures by grade, and the status of the concentration limit, for a book of two loans in two grades.

    The Herfindahl index of the book is 0.5.
    """
    loans = pl.DataFrame({"grade": ["R5", "R9"], "pd": [0.01, 0.1], "balance": [100, 100], "annual_rate": [0.1, 0.1]})
    grades = by_grade(loans, 0.45, policy.portfolio.price, priced=True)
    moved = pl.DataFrame({"from_grade": ["R5"], "to_grade": ["R9"], "loans": [1]})
    limit = policy.portfolio.limits.grade_hhi
    return grades.rows(), concentration(grades, moved, ["R5", "R9"], limit)["status"].item()


def history(hits: list[int], policy: Policy, home: Path) -> object:
    return evaluate(series(hits), policy.early_warning).rows()


def shown(hits: list[int], policy: Policy, home: Path) -> object:
    return _check("share_30_plus", evaluate(series(hits), policy.early_warning), policy.early_warning).severity


def reported(policy: Policy, home: Path) -> object:
    address = SecretStr("http://127.0.0.1:9/")
    settings = SimpleNamespace(warnings_webhook=address, warnings_log=Path("warnings.log"))
    found = channels(SimpleNamespace(settings=settings, policy=policy, on=None))
    return [(channel.name, vars(channel)) for channel in found]


# --- the keys --------------------------------------------------------------------------------------------------------

EVERY_REASON = dict.fromkeys(
    ("reasons.min_contribution_logit", "reasons.min_share_of_adverse", "reasons.min_margin_fall"), 0.0
) | {"reasons.max_reasons": 9}
RISE = [200] * 20 + [300] * 3  # of 10,000: 1.5 times the base
SLOW = [200] * 20 + [260] * 3  # 1.3 times
DRIFT = [200 + 2 * n for n in range(24)]
DONE = [200] * 20 + [300] + [200] * 6
LONG = [200] * 20 + [300] * 20
SHARE_30 = "early_warning.indicators.share_30_plus"
SIMULATED = "sources.simulated"
ALLY = "sources.ally_auto"


def only(path: str, value: Any, result: Result, **given: Any) -> Acts:
    """Return an `Acts` that changes a single key, which is given by its path."""
    return Acts({path: value}, result, given)


ACTS: dict[str, Acts] = {
    "freshness.warn_hours": only("freshness.warn_hours", 40, partial(freshness, 31)),
    "freshness.fail_hours": only("freshness.fail_hours", 60, partial(freshness, 55)),
    "ingestion.quiet_seconds": only("ingestion.quiet_seconds", 0, asked_for),
    "ingestion.max_bad_row_share": only("ingestion.max_bad_row_share", 0.005, taken_in),
    "ingestion.suspense_days": only("ingestion.suspense_days", 6, sql),
    "ingestion.overpaid_min": only("ingestion.overpaid_min", 2.0, sql),
    "personal_data.retention_years": only("personal_data.retention_years", 10, erased),
    "split.salt": only("split.salt", "another", blocks),
    "split.train": Acts({"split.train": [0, 49], "split.val": [50, 69]}, blocks),
    "split.val": Acts({"split.val": [60, 64], "split.cal": [65, 79]}, blocks),
    "split.cal": Acts({"split.cal": [70, 74], "split.oos": [75, 99]}, blocks),
    "split.oos": Acts({"split.oos": [90, 99], "split.cal": [70, 89]}, blocks),
    "split.oot_months": only("split.oot_months", 3, blocks),
    "split.oot_min_cohorts": only("split.oot_min_cohorts", 13, blocks),
    "training_data.min_rows": only("training_data.min_rows", 601, untrained),
    "training_data.min_defaults": only("training_data.min_defaults", 500, untrained),
    "training_data.min_default_rate": only("training_data.min_default_rate", 0.001, guards),
    "training_data.max_default_rate": only("training_data.max_default_rate", 0.5, guards),
    "training.seed": Acts({"training.seed": 43}, fitted, FEW),
    "training.threads": only("training.threads", 1, parameters),
    "training.learning_rate": Acts({"training.learning_rate": 0.1}, fitted, FEW),
    "training.max_depth": Acts({"training.max_depth": 1}, fitted, FEW),
    "training.min_child_weight": Acts({"training.min_child_weight": 1}, fitted, FEW),
    "training.subsample": Acts({"training.subsample": 0.5}, fitted, FEW),
    "training.colsample_bytree": Acts({"training.colsample_bytree": 0.3}, fitted, FEW),
    "training.reg_lambda": Acts({"training.reg_lambda": 50}, fitted, FEW),
    "training.max_rounds": Acts({"training.max_rounds": 10}, fitted, FEW | {"training.early_stopping_rounds": 10}),
    "training.early_stopping_rounds": Acts({"training.early_stopping_rounds": 1}, fitted, FEW),
    "training.cv_folds": Acts({"training.cv_folds": 2}, judged, FEW | {"training.cv_folds": 3}),
    "training.min_defaults": Acts({"training.min_defaults": 1}, judged, FEW | {"training.cv_folds": 2}),
    "training.sample_rows": Acts({"training.sample_rows": 100}, fitted, FEW),
    "scale.points_to_double_odds": only("scale.points_to_double_odds", 40, scored),
    "scale.score_min": Acts({"scale.score_min": 500, "scale.bands": {"poor": 500, "fair": 550}}, scored),
    "scale.score_max": Acts({"scale.score_max": 590}, scored, {"scale.bands": {"poor": 350, "fair": 550}}),
    "scale.pd_floor": only("scale.pd_floor", 0.3, scored),
    "scale.grade_edges.<name>": only("scale.grade_edges.R12", 0.4, scored),
    "scale.bands.<name>": only("scale.bands.fair", 500, scored),
    "reasons.min_contribution_logit": only("reasons.min_contribution_logit", 1.0, scored),
    "reasons.min_share_of_adverse": only("reasons.min_share_of_adverse", 0.5, scored),
    "reasons.min_margin_fall": only("reasons.min_margin_fall", 1.0, scored),
    "reasons.max_reasons": only("reasons.max_reasons", 2, scored),
    "reasons.high_utilisation": only("reasons.high_utilisation", 1.2, scored),
    "reasons.small_pay_ratio": Acts({"reasons.small_pay_ratio": 1.0}, scored, EVERY_REASON),
    "bootstrap_gate.slope_min": only("bootstrap_gate.slope_min", 1.1, first_champion),
    "bootstrap_gate.slope_max": only("bootstrap_gate.slope_max", 0.9, first_champion),
    "bootstrap_gate.auc_lower_bound": only("bootstrap_gate.auc_lower_bound", 0.75, first_champion),
    "bootstrap_gate.max_additivity_error": only("bootstrap_gate.max_additivity_error", 0.00001, first_champion),
    "portfolio.matrix_months": only("portfolio.matrix_months", 6, sql),
    "portfolio.dpd_bad": only("portfolio.dpd_bad", 60, sql),
    "portfolio.forborne_months": only("portfolio.forborne_months", 12, sql),
    "portfolio.risk_classes.special_mention": only("portfolio.risk_classes.special_mention", 31, sql),
    "portfolio.risk_classes.substandard": only("portfolio.risk_classes.substandard", 61, sql),
    "portfolio.risk_classes.doubtful": only("portfolio.risk_classes.doubtful", 151, sql),
    "portfolio.risk_classes.loss": only("portfolio.risk_classes.loss", 361, sql),
    "portfolio.provision_rates.<name>": only("portfolio.provision_rates.31-60", 0.05, sql),
    "portfolio.exposure.credit_conversion": only("portfolio.exposure.credit_conversion", 0.75, sql),
    "portfolio.exposure.revolving_months": only("portfolio.exposure.revolving_months", 24, sql),
    "portfolio.static_pools.amber": only("portfolio.static_pools.amber", 0.04, pools),
    "portfolio.static_pools.red": only("portfolio.static_pools.red", 0.07, pools),
    "portfolio.static_pools.prior_defaults": only("portfolio.static_pools.prior_defaults", 50, pools),
    "portfolio.static_pools.significance": only("portfolio.static_pools.significance", 0.1, pools),
    "portfolio.loss.discount_rate": only("portfolio.loss.discount_rate", 0.1, expected),
    "portfolio.loss.workout_months": only("portfolio.loss.workout_months", 24, sql),
    "portfolio.loss.min_months": only("portfolio.loss.min_months", 24, partial(lost, 100, 20)),
    "portfolio.loss.min_workouts": only("portfolio.loss.min_workouts", 200, partial(lost, 100, 20)),
    "portfolio.loss.given_default": only("portfolio.loss.given_default", 0.6, partial(lost, 5, 20)),
    "portfolio.ifrs9.horizon_months": only("portfolio.ifrs9.horizon_months", 24, expected),
    "portfolio.ifrs9.discounting": only("portfolio.ifrs9.discounting", "end_of_period", expected),
    "portfolio.ifrs9.dpd": only("portfolio.ifrs9.dpd", 60, expected),
    "portfolio.ifrs9.pd_ratio": only("portfolio.ifrs9.pd_ratio", 2.5, expected),
    "portfolio.ifrs9.pd_increase": only("portfolio.ifrs9.pd_increase", 0.04, expected),
    "portfolio.ifrs9.pd_ratio_alone": only("portfolio.ifrs9.pd_ratio_alone", 4.0, expected),
    "portfolio.ifrs9.correlation": only("portfolio.ifrs9.correlation", 0.2, expected),
    "portfolio.ifrs9.scenarios.<name>.weight": Acts(
        {"portfolio.ifrs9.scenarios.up.weight": 0.1, "portfolio.ifrs9.scenarios.down.weight": 0.4}, expected
    ),
    "portfolio.ifrs9.scenarios.<name>.factor": only("portfolio.ifrs9.scenarios.down.factor", -2.0, expected),
    "portfolio.ifrs9.stress_factor": only("portfolio.ifrs9.stress_factor", -3.0, expected),
    "portfolio.limits.segment_share.amber": only("portfolio.limits.segment_share.amber", 0.2, sql),
    "portfolio.limits.segment_share.red": only("portfolio.limits.segment_share.red", 0.4, sql),
    "portfolio.limits.top_20_share.amber": only("portfolio.limits.top_20_share.amber", 0.15, sql),
    "portfolio.limits.top_20_share.red": only("portfolio.limits.top_20_share.red", 0.3, sql),
    "portfolio.limits.grade_hhi.amber": Acts(
        {"portfolio.limits.grade_hhi.amber": 0.6}, graded, {"portfolio.limits.grade_hhi.red": 0.7}
    ),
    "portfolio.limits.grade_hhi.red": only("portfolio.limits.grade_hhi.red", 0.6, graded),
    "portfolio.limits.partner_share_min": only("portfolio.limits.partner_share_min", 0.4, sql),
    "portfolio.limits.partner_to_tier1": only("portfolio.limits.partner_to_tier1", 0.3, sql),
    "portfolio.limits.joint_share": only("portfolio.limits.joint_share", 0.6, sql),
    "portfolio.limits.annual_rate_max": only("portfolio.limits.annual_rate_max", 0.36, sql),
    "portfolio.price.funding_cost": only("portfolio.price.funding_cost", 0.05, graded),
    "portfolio.price.operating_cost": only("portfolio.price.operating_cost", 0.03, graded),
    "portfolio.price.return_on_equity": only("portfolio.price.return_on_equity", 0.1, graded),
    "portfolio.price.tax_rate": only("portfolio.price.tax_rate", 0.3, graded),
    "portfolio.price.capital_ratio": only("portfolio.price.capital_ratio", 0.105, graded),
    "defaults.thresholds.<name>.materiality_amount": only("defaults.thresholds.retail.materiality_amount", 200, sql),
    "defaults.thresholds.<name>.materiality_share": only("defaults.thresholds.retail.materiality_share", 0.02, sql),
    "defaults.thresholds.<name>.value_lost_max": only("defaults.thresholds.retail.value_lost_max", 0.02, sql),
    "defaults.cure.months": only("defaults.cure.months", 6, sql),
    "defaults.cure.dpd_max": only("defaults.cure.dpd_max", 0, sql),
    "defaults.cure.months_forborne": only("defaults.cure.months_forborne", 24, sql),
    "early_warning.significance.amber": Acts(
        {"early_warning.significance.amber": 1e-12},
        partial(history, RISE),
        {"early_warning.significance.red": 1e-13},
    ),
    "early_warning.significance.red": only("early_warning.significance.red", 1e-12, partial(history, RISE)),
    "early_warning.min_accounts": only("early_warning.min_accounts", 10_001, partial(history, RISE)),
    "early_warning.calm_months": only("early_warning.calm_months", 4, partial(history, DONE)),
    "early_warning.hold_base_months": only("early_warning.hold_base_months", 3, partial(history, LONG)),
    "early_warning.channels": only("early_warning.channels", ["log"], reported),
    "early_warning.webhook_timeout_seconds": only("early_warning.webhook_timeout_seconds", 5, reported),
    "early_warning.indicators.<name>.rule": only(f"{SHARE_30}.rule", "deviations", partial(history, DRIFT)),
    "early_warning.indicators.<name>.base_months": only(f"{SHARE_30}.base_months", 3, partial(history, DRIFT)),
    "early_warning.indicators.<name>.base_lag_months": only(f"{SHARE_30}.base_lag_months", 3, partial(history, DRIFT)),
    "early_warning.indicators.<name>.young_months": only(f"{SHARE_30}.young_months", 0, partial(history, DRIFT)),
    "early_warning.indicators.<name>.amber": only(f"{SHARE_30}.amber", 1.35, partial(history, SLOW)),
    "early_warning.indicators.<name>.red": only(f"{SHARE_30}.red", 2.0, partial(history, RISE)),
    "early_warning.indicators.<name>.owner": only(f"{SHARE_30}.owner", "team:other", partial(history, RISE)),
    "early_warning.indicators.<name>.escalation.amber": Acts(
        {f"{SHARE_30}.escalation": {"amber": "Look.", "red": "Tell."}},
        partial(history, SLOW),
        {f"{SHARE_30}.escalation": {"amber": "Wait.", "red": "Tell."}},
    ),
    "early_warning.indicators.<name>.escalation.red": Acts(
        {f"{SHARE_30}.escalation": {"amber": "Look.", "red": "Tell."}},
        partial(history, RISE),
        {f"{SHARE_30}.escalation": {"amber": "Look.", "red": "Wait."}},
    ),
    "early_warning.indicators.<name>.severity.amber": only(f"{SHARE_30}.severity.amber", "ERROR", partial(shown, SLOW)),
    "early_warning.indicators.<name>.severity.red": only(f"{SHARE_30}.severity.red", "WARN", partial(shown, RISE)),
    "sources.<name>.arrears_basis": Acts(
        {
            f"{SIMULATED}.arrears_basis": "status",
            f"{SIMULATED}.default_status_min": 3,
            f"{SIMULATED}.default_dpd_min": LEFT_OUT,
        },
        sql,
        {f"{SIMULATED}.portfolio_type": LEFT_OUT},
    ),
    "sources.<name>.feature_lag_days": only(f"{SIMULATED}.feature_lag_days", 2, sql),
    "sources.<name>.label_horizon_months": only(f"{SIMULATED}.label_horizon_months", 6, sql),
    "sources.<name>.observe_from_month": only(f"{SIMULATED}.observe_from_month", 9, sql),
    "sources.<name>.observations_per_year": only(f"{SIMULATED}.observations_per_year", 4, observed),
    "sources.<name>.default_status_min": only("sources.taiwan_cards.default_status_min", 2, sql),
    "sources.<name>.default_dpd_min": only(f"{SIMULATED}.default_dpd_min", 60, sql),
    "sources.<name>.default_arrears_min": only(f"{SIMULATED}.default_arrears_min", 50, sql),
    "sources.<name>.portfolio_type": only(f"{SIMULATED}.portfolio_type", "other", sql),
    "sources.<name>.write_off_min": only(f"{ALLY}.write_off_min", 1000, sql),
    "sources.<name>.tier1_capital": only(f"{SIMULATED}.tier1_capital", 1_000_000, sql),
    "sources.<name>.deferral_from": only(f"{ALLY}.deferral_from", dt.date(2020, 4, 1), sql),
    "sources.<name>.deferral_to": only(f"{ALLY}.deferral_to", dt.date(2020, 7, 31), sql),
    "sources.<name>.score_anchor.score": only("sources.taiwan_cards.score_anchor.score", 650, scored),
    "sources.<name>.score_anchor.odds": only("sources.taiwan_cards.score_anchor.odds", 7.0, scored),
}


@pytest.mark.parametrize("key", ACTS)
def test_key_changes_a_result(key: str, tmp_path: Path):
    acts = ACTS[key]
    same_key = find(tuple(next(iter(acts.change)).split(".")), keys())
    assert same_key and key.startswith(same_key.dotted), "what is changed is this key"
    policies = [Policy.model_validate(with_values(acts.given, *more)) for more in ((), (), (acts.change,))]
    homes = [tmp_path / str(n) for n in range(3)]
    for home in homes:
        home.mkdir()
    default, again, changed = (acts.result(policy, home) for policy, home in zip(policies, homes, strict=True))
    assert default == again, "the same policy gives the same result"
    assert default != changed


def leaves(values: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(values, dict):
        for name, inner in values.items():
            yield from leaves(inner, (*path, name))
    else:
        yield path, values


def read(policy: BaseModel, path: tuple[str, ...]) -> Any:
    """Return the value in the policy object that belongs to a path of keys in the policy file."""
    found: Any = policy
    for name in path:
        found = found[name] if isinstance(found, dict) else getattr(found, name)
    return found


def test_every_key_of_the_file_is_read_by_the_field_of_its_path():
    policy, read_keys = Policy.model_validate(DEFAULTS), keys()
    for path, value in leaves(DEFAULTS):
        key = find(path, read_keys)
        assert key and key.is_value and len(key.path) == len(path), path
        owner = read(policy, path[:-1])
        reader = f"{type(owner).__name__}.{path[-1]}"
        assert key.reader == reader or (isinstance(owner, dict) and key.reader.endswith(f"[{ANY}]"))
        given = read(policy, path)
        assert (list(given) if isinstance(given, tuple) else given) == value, path


def values_of_the_model() -> list[Key]:
    return [key for key in keys() if key.is_value]


def test_every_key_changes_a_result_or_is_descriptive():
    assert {key.dotted for key in values_of_the_model()} == ACTS.keys() | DESCRIPTIVE.keys()
    assert not ACTS.keys() & DESCRIPTIVE.keys() and all(DESCRIPTIVE.values())


def test_every_section_is_strict():
    sections = [key.section for key in keys() if key.section]
    for section in (Policy, *sections):
        config = section.model_config
        assert (config["extra"], config["frozen"], config["strict"]) == ("forbid", True, True), section
        assert config["allow_inf_nan"] is False, section
