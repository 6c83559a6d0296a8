"""Tests that each suite accepts sound rows, and that each planted fault fails the check that is meant to find it."""

import datetime as dt
import re

import duckdb
import polars as pl
import pytest

from expectations import features, portfolio, scores, training_set
from expectations.runner import run_suite
from ml.features import FEATURE_NAMES

DAY = dt.date(2005, 9, 30)
SCORES = pl.DataFrame(
    {
        "source": ["s"] * 3,
        "loan_id": ["1", "2", "3"],
        "as_of_on": [DAY] * 3,
        "pd": [0.1, 0.2, 1.0],
        "score": [700, 600, 350],
        "grade": ["R9", "R10", "D"],
        "band": ["good"] * 3,
        "reason_1": ["RC01", "none", "RC02"],
        "reason_2": ["RC02", None, None],
        "reason_3": pl.Series([None] * 3, dtype=pl.String),
        "reason_4": pl.Series([None] * 3, dtype=pl.String),
        "in_default": [False, False, True],
        "model_version": ["1"] * 3,
    }
)
SCORE_SUITE = scores.suite(350, 950, 0.0005, ("R9", "R10"), "D", ("RC01", "RC02", "none"), 4)
TRAINING = pl.DataFrame(
    {
        "source": ["s"] * 10,
        "loan_id": [str(i) for i in range(10)],
        "month_on": [DAY] * 10,
        "borrower_id": [f"b{i}" for i in range(10)],
        "bucket": list(range(10)),
        "block": ["train"] * 9 + ["oos"],
        "label": [0] * 8 + [1] * 2,
        "exclusion_reason": pl.Series([None] * 10, dtype=pl.String),
        "in_default": [False] * 10,
    }
)
TRAINING_SUITE = training_set.suite("s", 0.001, 0.6)
FEATURES = pl.DataFrame(
    {
        "source": ["s"] * 2,
        "loan_id": ["1", "2"],
        "month_on": [DAY] * 2,
        "borrower_id": ["a", "b"],
        **{flag: [True, False] for flag in ("is_live", "in_default", "zero_balance")},
        **{name: [1.0, 1.0] for name in FEATURE_NAMES},
    }
)
FEATURE_SUITE = features.suite()
LOSSES = pl.DataFrame(
    {
        "source": ["s"] * 3,
        "loan_id": ["1", "2", "3"],
        "as_of_on": [DAY] * 3,
        "stage": [1, 2, 3],
        "stage_before": [1, 3, None],
        "trigger": ["none", "probation", "default"],
        "pd": [0.1, 0.2, 1.0],
        "loss_given_default": [0.4] * 3,
        "expected_loss": [1.0, 2.0, 40.0],
        "exposure_at_default": [100.0] * 3,
    }
)
MOVEMENT = pl.DataFrame(
    {
        "source": ["s"] * 3,
        "currency": ["EUR"] * 3,
        "position": [0, 1, 2],
        "component": ["opening", "new", "closing"],
        "amount": pl.Series(["1.10", "2.00", "3.10"]).cast(pl.Decimal(18, 2)),
    }
)
MATRIX = pl.DataFrame(
    {"source": ["s"] * 2, "from_state": ["a"] * 2, "to_state": ["a", "b"], "probability_12m": [0.75, 0.25]}
)
LOSS_SUITE, MOVEMENT_SUITE, MATRIX_SUITE = portfolio.suites()
CENT = pl.Series(["2.01"]).cast(pl.Decimal(18, 2))[0]


def verdicts(frame, suite, tmp_path):
    path = tmp_path / "t.duckdb"
    with duckdb.connect(str(path)) as db:
        db.register("frame", frame.to_arrow())
        db.execute(f"create or replace table {suite.table} as select * from frame")
    return {c.name for c in run_suite(suite, path).checks if not c.passed}


def put(frame, column, value, row=0):
    at = pl.int_range(pl.len()) == row
    return frame.with_columns(
        pl.when(at).then(pl.lit(value, dtype=frame.schema[column])).otherwise(column).alias(column)
    )


FAULTS = [
    (SCORES, SCORE_SUITE, put(SCORES, "pd", 0.0001), "pd__to_be_between"),
    (SCORES, SCORE_SUITE, put(SCORES, "score", 990), "score__to_be_between"),
    (SCORES, SCORE_SUITE, put(SCORES, "grade", "R99"), "grade__to_be_in_set"),
    (SCORES, SCORE_SUITE, put(SCORES, "reason_1", None), "reason_1__to_not_be_null"),
    (SCORES, SCORE_SUITE, put(SCORES, "reason_2", "RC99"), "reason_2__to_be_in_set"),
    (SCORES, SCORE_SUITE, put(SCORES, "reason_4", "RC01"), "reasons__in_order"),
    (SCORES, SCORE_SUITE, put(SCORES, "in_default", value=True), "default_grade__if_in_default"),
    (SCORES, SCORE_SUITE, put(SCORES, "pd", 0.9, 2), "default_grade__if_in_default"),
    (SCORES, SCORE_SUITE, put(SCORES, "score", 800, 1), "score__falls_with_pd"),
    (SCORES, SCORE_SUITE, put(SCORES, "loan_id", "2"), "source_loan_id__to_be_unique"),
    (SCORES, SCORE_SUITE, SCORES.clear(), "row_count_to_be_between"),
    (TRAINING, TRAINING_SUITE, put(TRAINING, "borrower_id", "b9"), "borrower__on_one_side"),
    (TRAINING, TRAINING_SUITE, put(TRAINING, "in_default", value=True), "excluded__if_in_default"),
    (TRAINING, TRAINING_SUITE, put(TRAINING, "label", None), "label__if_usable"),
    (TRAINING, TRAINING_SUITE, put(TRAINING, "label", 2), "label__to_be_in_set"),
    (TRAINING, TRAINING_SUITE, put(TRAINING, "block", "dev"), "block__to_be_in_set"),
    (TRAINING, TRAINING_SUITE, put(TRAINING, "bucket", 100), "bucket__to_be_between"),
    (TRAINING, TRAINING_SUITE, TRAINING.with_columns(label=1), "label__mean_to_be_between"),
    (FEATURES, FEATURE_SUITE, put(FEATURES, "max_dpd_3m", 60.0), "windows_grow__dpd"),
    (FEATURES, FEATURE_SUITE, put(FEATURES, "util_now", 1.6), "util_now__to_be_between"),
    (LOSSES, LOSS_SUITE, put(LOSSES, "trigger", "default"), "stage__has_its_trigger"),
    (LOSSES, LOSS_SUITE, put(LOSSES, "stage_before", 3), "stage__not_from_3_to_1"),
    (LOSSES, LOSS_SUITE, put(LOSSES, "expected_loss", 100.02), "expected_loss__not_above_exposure"),
    (MOVEMENT, MOVEMENT_SUITE, put(MOVEMENT, "amount", CENT, 1), "movement__adds_up"),
    (MATRIX, MATRIX_SUITE, put(MATRIX, "probability_12m", 0.74), "probabilities__add_up_to_1"),
]


@pytest.mark.parametrize(
    ("sound", "suite"),
    [
        (SCORES, SCORE_SUITE),
        (TRAINING, TRAINING_SUITE),
        (FEATURES, FEATURE_SUITE),
        (LOSSES, LOSS_SUITE),
        (MOVEMENT, MOVEMENT_SUITE),
        (MATRIX, MATRIX_SUITE),
    ],
    ids=lambda x: getattr(x, "name", ""),
)
def test_sound_rows_pass(sound, suite, tmp_path):
    assert verdicts(sound, suite, tmp_path) == set()


@pytest.mark.parametrize(
    ("sound", "suite", "broken", "check"), FAULTS, ids=[f[3] + f"-{i}" for i, f in enumerate(FAULTS)]
)
def test_planted_fault_is_found(sound, suite, broken, check, tmp_path):
    assert check in verdicts(broken, suite, tmp_path)


@pytest.mark.parametrize("count", [1, 2, 6])
def test_reasons_are_checked_in_as_many_columns_as_the_policy_has(count):
    suite = scores.suite(350, 950, 0.0005, ("R9",), "D", ("RC01", "none"), count)
    named = {int(n) for check in suite.checks for n in re.findall(r"reason_(\d+)", str(check))}
    assert named == set(range(1, count + 1))
