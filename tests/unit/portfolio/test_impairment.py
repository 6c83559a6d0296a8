"""Tests of stages and expected losses, with golden numbers and with properties that hold for any book.

The golden numbers are from section 5 of the modelling specification.
"""

from dataclasses import fields, replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_project.portfolio.impairment import (
    Loans,
    credit_loss,
    expected_losses,
    lifetime_pd,
    movement,
    run_off,
    stages,
    weighted_loss,
)
from support.portfolio import POLICY, array, exposures

GOLDEN_TERMS = [(array(h), array(0.45), array(e)) for h, e in ((0.02, 1000), (0.03, 700), (0.04, 400))]


def test_expected_loss():
    """`expected_losses` returns the golden losses for yearly periods, with both kinds of discounting.

    Losses are discounted from the end or from the middle of a year. The first of the two results contains only the
    losses within the horizon.
    """
    first, whole = expected_losses(GOLDEN_TERMS, array(0.10), "end_of_period", 1, 1)
    assert (first[0], whole[0]) == (pytest.approx(8.181818, abs=5e-7), pytest.approx(20.977776, abs=5e-7))
    two, _ = expected_losses(GOLDEN_TERMS, array(0.10), "end_of_period", 1, 2)
    assert two[0] - first[0] == pytest.approx(7.653719, abs=5e-7)
    assert whole[0] - two[0] == pytest.approx(5.142239, abs=5e-7)
    _, middle = expected_losses(GOLDEN_TERMS, array(0.10), "mid_period", 1, 1)
    assert middle[0] == pytest.approx(20.977776 * 1.1**0.5, abs=5e-6)


def random_loans(random: np.random.Generator, count: int) -> Loans:
    return Loans(
        pd=random.uniform(0.0005, 1.0, count) ** 2,
        loss=random.uniform(0, 1, count),
        exposure=np.rint(random.uniform(0, 5e6, count)) / 100,
        annual_rate=random.choice([0.0, 0.03, 0.24], count),
        remaining_months=random.integers(1, 61, count),
        is_revolving=random.random(count) < 0.3,
        stage=random.integers(1, 4, count),
    )


@settings(max_examples=25)
@given(st.integers(0, 10_000))
def test_movement_of_expected_loss_closes_to_the_cent(seed):
    """For each loan, the opening loss plus all steps of the movement equals the closing loss, to the cent.

    The loans are open at both dates, and their data changes at random. If the data of a step did not change, the step
    is 0.
    """
    random = np.random.default_rng(seed)
    before, after = random_loans(random, 20), random_loans(random, 20)
    kept = {f.name: getattr(before, f.name) for f in fields(Loans) if random.random() < 0.3}
    after = replace(after, **kept)
    steps = movement(before, after, POLICY.ifrs9)
    assert (weighted_loss(before, POLICY.ifrs9) + sum(steps.values()) == weighted_loss(after, POLICY.ifrs9)).all()
    for step, name in (("stage_moves", "stage"), ("pd", "pd"), ("lgd", "loss"), ("fx_other", "annual_rate")):
        assert name not in kept or not steps[step].any()


@given(st.integers(0, 10_000))
def test_stages_have_their_trigger_and_default_is_not_left_for_stage_1(seed):
    random = np.random.default_rng(seed)
    rows = exposures(random, list(range(40)))
    was_in_default = pl.Series(random.random(40) < 0.3)
    pds = rows.select(pd_lifetime="pd", pd_lifetime_first="pd_first")
    found = stages(rows.with_columns(is_probation=was_in_default).hstack(pds), POLICY.ifrs9)
    assert found.filter((pl.col("stage") == 3) != pl.col("is_default")).is_empty()
    assert found.filter((pl.col("stage") == 1) != (pl.col("trigger") == "none")).is_empty()
    assert found.filter(was_in_default & (pl.col("stage") == 1)).is_empty()


@pytest.mark.parametrize(
    ("change", "stage", "trigger"),
    [
        ({}, 1, "none"),
        ({"dpd_end": 30}, 1, "none"),
        ({"dpd_end": 31}, 2, "days_past_due"),
        ({"dpd_end": 80, "arrears_basis": "imputed"}, 1, "none"),
        ({"is_forborne": True}, 2, "forborne"),
        ({"is_probation": True, "dpd_end": 80}, 2, "probation"),
        ({"is_default": True, "is_probation": True}, 3, "default"),
        ({"pd_lifetime": 0.02, "pd_lifetime_first": 0.01}, 2, "pd_increase"),
        ({"pd_lifetime": 0.0199, "pd_lifetime_first": 0.01}, 1, "none"),
        ({"pd_lifetime": 0.006, "pd_lifetime_first": 0.003}, 1, "none"),  # twice as high, by .30 pp
        ({"pd_lifetime": 0.006, "pd_lifetime_first": 0.002}, 2, "pd_ratio"),
    ],
)
def test_stage_and_its_trigger(change, stage, trigger):
    loan = {"is_default": False, "is_probation": False, "dpd_end": 0, "is_forborne": False}
    loan |= {"arrears_basis": "ledger"}
    loan |= {"pd_lifetime": 0.01, "pd_lifetime_first": 0.01} | change
    assert stages(pl.DataFrame([loan]), POLICY.ifrs9).select("stage", "trigger").row(0) == (stage, trigger)


def test_loss_by_stage_and_scenario():
    """Stage 1 counts the losses of 12 months, stage 2 those of the remaining life, and stage 3 LGD times exposure.

    The scenario weights apply to the losses. In a bad year (factor -2), the losses of stages 1 and 2 more than double.
    """
    loans = Loans(
        pd=array(0.1, 0.1, 1.0),
        loss=array(0.5, 0.5, 0.5),
        exposure=array(1000, 1000, 1000),
        annual_rate=array(0, 0, 0),
        remaining_months=np.array([24, 24, 24]),
        is_revolving=np.array([True, True, True]),
        stage=np.array([1, 2, 3]),
    )
    assert credit_loss(loans, POLICY.ifrs9) == pytest.approx([50, 95, 500])
    assert (credit_loss(loans, POLICY.ifrs9, -2.0)[:2] > 2 * array(50, 95)).all()
    by_scenario = [credit_loss(loans, POLICY.ifrs9, s.factor) for s in POLICY.ifrs9.scenarios.values()]
    weighted = 0.5 * by_scenario[0] + 0.2 * by_scenario[1] + 0.3 * by_scenario[2]
    assert weighted_loss(loans, POLICY.ifrs9).tolist() == np.rint(100 * weighted).tolist()


def test_what_is_owed_runs_off_as_a_plan_of_equal_instalments_does():
    loans = replace(
        random_loans(np.random.default_rng(1), 3),
        exposure=array(1200, 1200, 700),
        annual_rate=array(0.1268250301319698, 0.0, 0.1),  # 1 % a month
        remaining_months=np.array([12, 12, 2]),
        is_revolving=np.array([False, False, True]),
    )
    owed, instalment, expected = 1200.0, 1200 * 0.01 / (1 - 1.01**-12), []
    for _ in range(12):
        expected.append(owed)
        owed = owed * 1.01 - instalment
    found = np.array(list(run_off(loans)))
    assert found[:, 0] == pytest.approx(expected)
    assert found[:, 1] == pytest.approx([1200 - 100 * n for n in range(12)])
    assert found[:, 2].tolist() == [700, 700] + [0] * 10
    assert lifetime_pd(array(0.19), np.array([6])) == pytest.approx([0.1])
