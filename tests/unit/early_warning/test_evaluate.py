"""Tests of the history of early warnings. The expected bases, moves and states of segments were calculated by hand."""

from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_project.early_warning.evaluate import HISTORY, KEYS, evaluate
from dagster_project.early_warning.messages import figures
from dagster_project.early_warning.rules import State
from dagster_project.early_warning.states import LEGAL
from support.warning_figures import POLICY, month, series, states


def test_share_in_stage_2_is_measured_by_the_month_a_quarter_before():
    """The share of loans in stage 2 is compared with the share three months earlier.

    The share rises by 0.7 percentage points per month, or 2.1 points per quarter, which is amber. A month can serve as
    the base only if the segment was at least 24 months old in that month. The age counts from the first month with
    figures of any indicator, so the second indicator makes the segment old enough. Without the second indicator, no
    month is old enough to be the base.
    """
    share = [0.05] * 12 + [0.057, 0.064, 0.071]
    rising = series([round(20_000 * s) for s in share], of=20_000, indicator="stage_2_share", begins=20)
    history = evaluate(pl.concat([rising, series([400] * 35, of=20_000)]), POLICY).filter(indicator="stage_2_share")
    assert states(history, segment="loan") == ["not_enough_history"] * 7 + ["green"] * 7 + ["amber"]
    row = history.filter(segment="loan", month_on=month(34)).row(0, named=True)
    assert row["base"] == 0.05 and row["move"] == pytest.approx(0.021)
    assert "5.00% 3 months before" in figures(row, POLICY)
    gap = evaluate(pl.concat([rising.filter(pl.col("month_on") != month(31)), series([400] * 35, of=20_000)]), POLICY)
    assert (
        gap.filter(indicator="stage_2_share", month_on=month(34), segment="loan")["note"]
        .str.contains("0 earlier")
        .all()
    )
    without_older = evaluate(rising, POLICY).filter(indicator="stage_2_share")
    assert states(without_older, segment="loan") == ["not_enough_history"] * 15


def test_rise_is_amber_then_red_and_is_measured_by_what_was_before_it():
    """A rise turns the state amber and then red, and is measured against the months before the warning opened.

    Of 20,000 accounts, 1.76 % are late for 20 months. Within the next four months the share rises to 3.01 %.
    """
    share = [0.0176] * 20 + [0.0176 + 0.0125 * k / 4 for k in (1, 2, 3, 4)] + [0.0301] * 3
    history = evaluate(series([round(20_000 * s) for s in share], of=20_000), POLICY)
    assert states(history, segment="loan")[-8:] == ["green", "green", "amber", "red", "red", "red", "red", "red"]
    row = history.filter(segment="loan", month_on=month(23)).row(0, named=True)
    assert row["value"] == 0.0301 and row["base"] == pytest.approx((5 * 352 + 414) / 120_000)
    assert row["since"] == month(22) and row["owner"] == "team:credit-risk"
    assert row["escalation"] == POLICY.indicators["share_30_plus"].escalation.red


def test_what_stays_is_the_new_base_once_its_time_is_over():
    hits = [200] * 20 + [400] * (POLICY.hold_base_months + 20)
    seen = states(evaluate(series(hits), POLICY), segment="loan")
    held = seen[20 : 20 + POLICY.hold_base_months + 1]
    assert set(held) == {"red"} and seen[-1] == "green" and "amber" in seen


def test_a_large_move_that_may_be_noise_stays_green():
    """A share that doubles stays green if the rise may be chance.

    Of 150 accounts, 3 are late in each of 20 months, and 6 in the following month.
    """
    history = evaluate(series([3] * 20 + [6], of=150), POLICY)
    row = history.filter(segment="loan").row(-1, named=True)
    assert row["move"] == 2 and row["p_adjusted"] > 0.01 and row["state"] == "green"


def test_of_many_segments_one_that_stands_out_by_chance_stays_green():
    """A segment that is amber when judged alone is green when it is judged together with 39 other segments.

    Its p-value is below 0.001. With 40 segments, the adjusted p-value is above 0.01, because such a rise is likely to
    occur by chance in one of so many segments.
    """
    one = series([200] * 20 + [252], segment=("product", "p0"))
    single = evaluate(one, POLICY).filter(segment="p0").row(-1, named=True)
    assert single["p_value"] < 0.001 and single["state"] == "amber"
    others = [series([200] * 21, segment=("product", f"p{n}")) for n in range(1, 40)]
    row = evaluate(pl.concat([one, *others]), POLICY).filter(segment="p0").row(-1, named=True)
    assert row["p_value"] == single["p_value"] and row["p_adjusted"] == pytest.approx(40 * row["p_value"], rel=1e-5)
    assert row["p_adjusted"] > 0.01 and row["state"] == "green"


def test_too_little_data_is_stated_and_never_zero():
    short = evaluate(series([100] * 10), POLICY)
    assert set(states(short, segment="loan")) == {"not_enough_history"}
    assert short.filter(segment="loan")["note"][-1] == "0 earlier months to compare with; 6 are needed"
    few = evaluate(series([3] * 30, of=POLICY.min_accounts - 1), POLICY)
    assert few.filter(segment="loan")["note"][-1] == "99 accounts; 100 are needed"
    for history in (short, few):
        assert history.filter(state="not_enough_history")["base"].null_count() > 0
        absent = history.filter(indicator="utilisation", segment="all")
        assert set(absent["note"]) == {"this source does not give it"} and absent["value"].null_count() == absent.height
    assert set(few["indicator"]) == set(POLICY.indicators)


def test_gap_is_reported_and_the_segment_is_judged_again_after_it():
    hits = [200] * 20 + [500, None, 200]
    history = evaluate(pl.concat([series(hits), series([9] * 23, segment=("product", "other"))]), POLICY)
    assert states(history, segment="loan")[-3:] == ["red", "not_enough_history", "green"]


def test_each_rule_by_hand():
    """The rules `points` and `deviations` give the moves that were calculated by hand.

    Points: 0.50 is compared with 0.44, so the move is 0.06. Deviations: the earlier shares alternate between 2.0 % and
    2.2 %, so their mean is 2.1 % and their standard deviation is 0.1044 percentage points. The move is the distance of
    3.0 % from the mean, in standard deviations.
    """
    mean = pl.concat([series([44] * 8 + [50], of=100, indicator="utilisation")])
    row = evaluate(mean, POLICY).filter(segment="loan").row(-1, named=True)
    assert (row["value"], row["base"], row["move"]) == (0.5, 0.44, pytest.approx(0.06))
    rolls = series([200, 220] * 6 + [300], indicator="roll_0_to_30")
    row = evaluate(rolls, POLICY).filter(segment="loan").row(-1, named=True)
    deviation = 0.001 * (12 / 11) ** 0.5
    assert row["base"] == 0.021 and row["move"] == pytest.approx((0.03 - 0.021) / deviation, abs=1e-6)
    assert row["state"] == "red"


def test_outcomes_are_judged_by_the_models_pd_and_need_no_month_before():
    outcomes = series([55], of=406, indicator="default_rate_to_pd").with_columns(expected=406 * 0.10342906086898278)
    row = evaluate(outcomes, POLICY).filter(segment="loan").row(0, named=True)
    assert row["p_value"] == pytest.approx(0.01995857, abs=1e-7) and row["state"] == "green"
    assert row["base"] == pytest.approx(0.103429061) and row["move"] == pytest.approx(55 / 406 / 0.10342906, abs=1e-6)


def test_the_only_product_is_the_book_and_is_judged_once():
    book, loans = series([200] * 20, segment=("book", "all")), series([200] * 20)
    assert set(evaluate(pl.concat([book, loans]), POLICY)["segment"]) == {"all"}
    other = series([9] * 20, segment=("product", "card"))
    assert set(evaluate(pl.concat([book, loans, other]), POLICY)["segment"]) == {"all", "loan", "card"}


MONTHLY = st.lists(st.integers(100, 900), min_size=22, max_size=30)


@settings(max_examples=40)
@given(MONTHLY, MONTHLY, st.randoms(use_true_random=False), st.integers(1, 8))
def test_history_depends_only_on_the_months_figures(loans, cards, random, cut):
    """The history of each month depends only on the source's own figures up to that month.

    The order of the input rows does not matter. Figures of later months or of another source change no row. Each row
    has a unique key, and each state may legally follow the state of the month before.
    """
    figures = pl.concat([series(loans), series(cards, segment=("product", "card"), indicator="mob3_30_plus")])
    whole = evaluate(figures, POLICY)
    order = list(range(figures.height))
    random.shuffle(order)
    assert evaluate(figures[order], POLICY).equals(whole)
    until = month(len(loans) - cut)
    before = evaluate(figures.filter(pl.col("month_on") <= until), POLICY)
    assert before.equals(whole.filter(pl.col("month_on") <= until))
    beside = evaluate(pl.concat([figures, series([900] * 25, source="other")]), POLICY)
    assert beside.filter(source="lender").equals(whole)
    assert whole.select(KEYS).is_unique().all() and dict(whole.schema) == HISTORY
    for (_, _, _, _), group in whole.group_by(KEYS[:4]):
        seen = [State(s) for s in group.sort("month_on")["state"]]
        assert all(after in LEGAL[before] for before, after in pairwise(seen))


def test_noise_stays_silent_where_two_sigma_does_not():
    """Pure chance rarely opens a warning, although it often exceeds two standard deviations.

    In 60 books with binomial noise, 24 months are compared with the 12 months before each of them. More than half of
    the books exceed the mean plus two standard deviations at least once. The share of books that open a warning is at
    most 24 times the `false_alarm_rate` of the policy.
    """
    random, opened, crossed = np.random.default_rng(5), 0, 0
    for _ in range(60):
        hits = random.binomial(10_000, 0.02, 36)
        values = hits / 10_000
        base = np.lib.stride_tricks.sliding_window_view(values, 12)[:24]
        crossed += bool((values[12:] > base.mean(1) + 2 * base.std(1, ddof=1)).any())
        history = evaluate(series(hits.tolist(), indicator="roll_0_to_30"), POLICY)
        opened += bool(set(states(history, segment="loan")) & {"amber", "red"})
    assert crossed / 60 > 0.5
    assert opened / 60 <= 24 * POLICY.false_alarm_rate
