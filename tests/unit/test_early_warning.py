"""Early warnings as pure functions: tests of significance, the state machine, and the history that they make."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from early_warning_support import POLICY, month, series
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import fisher_exact, ttest_ind

from dagster_project.early_warning.evaluate import HISTORY, KEYS, evaluate
from dagster_project.early_warning.messages import changes, figures, newest
from dagster_project.early_warning.rules import MEASURES, State
from dagster_project.early_warning.significance import above_expected, higher_mean, holm, more_often
from dagster_project.early_warning.states import LEGAL, Standing, step
from dagster_project.policy import PolicyError, load_policy
from dagster_project.settings import PROJECT_ROOT

SIGNALS = st.lists(st.sampled_from(list(State)), max_size=60)
RANK = {State.GREEN: 0, State.AMBER: 1, State.RED: 2}


def states(history, **of):
    return history.filter(**of).sort("month_on")["state"].to_list()


# Significance


def test_more_often_is_fishers_exact_test():
    """scipy's own test says the same of the table, and beyond 2,000 hits p is hardly larger than the exact one."""
    for hits, of, base_hits, base_of in ((3, 4, 1, 4), (30, 900, 90, 5_000), (0, 50, 3, 60), (12, 12, 0, 9)):
        table = [[hits, of - hits], [base_hits, base_of - base_hits]]
        assert more_often(hits, of, base_hits, base_of) == pytest.approx(fisher_exact(table, "greater").pvalue)
    for hits in (340, 361, 401):
        exact = fisher_exact([[hits, 15_000 - hits], [1_640, 88_360]], "greater").pvalue
        assert 1 <= more_often(hits, 15_000, 1_640, 90_000) / exact < 1.8
    assert more_often(0, 10, 0, 10) == more_often(10, 10, 10, 10) == 1


def test_higher_mean_is_welchs_test():
    random = np.random.default_rng(1)
    now, base = random.normal(0.52, 0.3, 400), random.normal(0.45, 0.2, 900)
    moments = [(len(x), float(x.sum()), float((x**2).sum())) for x in (now, base)]
    assert higher_mean(*moments) == pytest.approx(ttest_ind(now, base, equal_var=False, alternative="greater").pvalue)
    assert higher_mean((5, 2.5, 1.25), (5, 2.5, 1.25)) == 1
    assert higher_mean((5, 3.0, 1.8), (5, 2.5, 1.25)) < 1e-9, "no spread at all, and higher"


def test_jeffreys_golden_numbers():
    """modelling.md section 7."""
    assert above_expected(55, 406, 0.10342906086898278) == pytest.approx(0.01995857, abs=1e-8)
    assert above_expected(41, 480, 0.09952395992070007) == pytest.approx(0.84955196, abs=1e-8)


@given(st.lists(st.floats(0, 1), max_size=40))
def test_holm_keeps_the_order_and_never_helps(p_values):
    adjusted = holm(p_values)
    assert all(p <= a <= 1 for p, a in zip(p_values, adjusted, strict=True))
    in_order = [a for _, a in sorted(zip(p_values, adjusted, strict=True))]
    assert in_order == sorted(in_order)
    if p_values:
        assert min(adjusted) == pytest.approx(min(1, len(p_values) * min(p_values)))


# The state machine


def walk(signals, calm_months):
    standing, seen = Standing(), []
    for n, signal in enumerate(signals):
        standing = step(standing, signal, month(n), calm_months)
        seen.append(standing)
    return seen


@given(SIGNALS, st.integers(1, 4))
def test_no_move_is_illegal(signals, calm_months):
    seen = walk(signals, calm_months)
    for before, after in pairwise([Standing(), *seen]):
        assert after.state in LEGAL[before.state]
        assert (after.since == before.since) == (after.state is before.state and before.since is not None)
        assert (after.opened_on is not None) == (after.state in RANK and RANK[after.state] > 0)
    assert State.GREEN not in LEGAL[State.RED], "red goes down by amber"


@given(SIGNALS, st.integers(1, 4))
def test_a_state_is_never_better_than_its_month_and_worse_only_for_want_of_calm(signals, calm_months):
    for n, (signal, standing) in enumerate(zip(signals, walk(signals, calm_months), strict=True)):
        if signal is State.NOT_ENOUGH_HISTORY:
            assert standing.state is State.NOT_ENOUGH_HISTORY
            continue
        assert RANK[standing.state] >= RANK[signal]
        if RANK[standing.state] > RANK[signal]:
            lately = signals[max(n - 2 * calm_months + 1, 0) : n + 1]
            assert any(RANK.get(s, 0) >= 1 for s in lately[:-1]), "something was amber or red not long ago"


def test_red_goes_down_by_one_state_after_calm_months():
    green, red = State.GREEN, State.RED
    seen = [s.state.value for s in walk([green, red, green, red, green, green, green, green, green], 2)]
    assert seen == ["green", "red", "red", "red", "red", "amber", "amber", "green", "green"]


# The history


def test_share_in_stage_2_is_measured_by_the_month_a_quarter_before():
    """.7 points a month are 2.1 a quarter. There are figures of the newest months alone: the segment's age is told by
    another indicator, and without one these months are its first, and no base.
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
    alone = evaluate(rising, POLICY).filter(indicator="stage_2_share")
    assert states(alone, segment="loan") == ["not_enough_history"] * 15


def test_rise_is_amber_then_red_and_is_measured_by_what_was_before_it():
    """Of 20,000 accounts 1.76 % are late for 20 months, and 3.01 % four months later."""
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
    """Of 150 accounts 3 are late in each of 20 months, and then 6."""
    history = evaluate(series([3] * 20 + [6], of=150), POLICY)
    row = history.filter(segment="loan").row(-1, named=True)
    assert row["move"] == 2 and row["p_adjusted"] > 0.01 and row["state"] == "green"


def test_of_many_segments_one_that_stands_out_by_chance_stays_green():
    """p of one segment is below .001: amber where it is alone, and above .01 among forty."""
    one = series([200] * 20 + [252], segment=("product", "p0"))
    alone = evaluate(one, POLICY).filter(segment="p0").row(-1, named=True)
    assert alone["p_value"] < 0.001 and alone["state"] == "amber"
    others = [series([200] * 21, segment=("product", f"p{n}")) for n in range(1, 40)]
    row = evaluate(pl.concat([one, *others]), POLICY).filter(segment="p0").row(-1, named=True)
    assert row["p_value"] == alone["p_value"] and row["p_adjusted"] == pytest.approx(40 * row["p_value"], rel=1e-5)
    assert row["p_adjusted"] > 0.01 and row["state"] == "green"


def test_too_little_is_said_so_and_never_zero():
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


def test_a_gap_is_told_and_a_segment_begins_anew_after_it():
    hits = [200] * 20 + [500, None, 200]
    history = evaluate(pl.concat([series(hits), series([9] * 23, segment=("product", "other"))]), POLICY)
    assert states(history, segment="loan")[-3:] == ["red", "not_enough_history", "green"]


def test_each_rule_by_hand():
    """Points: 0.50 against 0.44; deviations: months of 2.0 and 2.2 % have a standard deviation of 0.1044 points."""
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
def test_history_hangs_on_the_months_alone(loans, cards, random, cut):
    """Any order of rows gives the same; later months change no earlier one; another source has no part in it."""
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
    """Binomial noise over 24 months: 2 sigma of 12 months is crossed in most books, a warning opens in few."""
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


# What is told


def test_a_message_names_segment_figures_owner_and_what_to_do():
    history = evaluate(series([200] * 20 + [300]), POLICY)
    (message,) = changes(history, {}, POLICY)
    assert message.body["text"] == (
        "RED (was green): share 30+ days past due, loan (product) of lender. 2021-09: 3.00% of 10,000 accounts, 2.00% "
        "in the months before: 1.50 times (amber from 1.20 times, red from 1.40 times). Owner: team:credit-risk. "
        "Tell the head of credit risk today; decide on new lending in the segment."
    )
    assert message.body["state"] == "red" and message.body["since"] == "2021-09-30"
    assert newest(history).filter(segment="loan")["state"].to_list() == ["red"]


# The policy


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("red: 1.4", "red: 1.1"), "early_warning.indicators.share_30_plus: Value error, red (1.1) must be above"),
        (("    mob3_30_plus:", "    mob4_30_plus:"), "no indicator is called mob4_30_plus; there are share_30_plus"),
        (("    red: 0.001", "    red: 0.02"), "red (0.02) must not be above amber (0.01)"),
        (("owner: team:fraud", "owner: fraud"), "early_warning.indicators.first_payment_default.owner"),
        (("      base_months: 12", "      base_months: 2"), "rule deviations needs base_months of 3 or more"),
        (("channels: [log, webhook]", "channels: [log, pigeon]"), "early_warning.channels.1"),
        (("materiality_amount: 500", "amount: 500"), "defaults.thresholds.other.amount: this key is now called materi"),
        (("observations_per_year: 3", "snapshots_a_year: 3"), "this key is now called observations_per_year"),
    ],
)
def test_policy_says_what_is_wrong(tmp_path: Path, change, said):
    text = (PROJECT_ROOT / "policy/default.yaml").read_text()
    assert change[0] in text
    (tmp_path / "policy.yaml").write_text(text.replace(*change, 1))
    with pytest.raises(PolicyError) as error:
        load_policy(tmp_path / "policy.yaml")
    assert said in str(error.value)


def test_every_indicator_is_in_the_policy():
    assert set(POLICY.indicators) == set(MEASURES)
