"""Portfolio formulas: golden numbers from outside, and what must hold of any book."""

import datetime as dt
from dataclasses import fields, replace
from decimal import Decimal

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dagster_project.home.settings import PROJECT_ROOT
from dagster_project.policy import load_policy
from dagster_project.portfolio.coverage import coverage
from dagster_project.portfolio.expected_loss import COMPONENTS, expected_losses_of, movement_of, staged
from dagster_project.portfolio.grades import by_grade, concentration, moves
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
from dagster_project.portfolio.loss_given_default import loss_given_default
from dagster_project.portfolio.migration import bandwidth, cell_z, generator, herfindahl, transition_matrix
from dagster_project.portfolio.pools import binomial_p, jeffreys_p, static_pools
from dagster_project.portfolio.price import risk_based_price, risk_weight
from dagster_project.portfolio.stress import stressed_pd
from dagster_project.portfolio.tables import TABLES, empty

POLICY_FILE = PROJECT_ROOT / "policy/default.yaml"
POLICY = load_policy(POLICY_FILE).portfolio


def array(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float64)


# --- golden numbers: modelling.md, sections 3, 5 and 7


def test_duration_matrix():
    """Of 10 A and 10 B one goes A->B at 1/12, one B->A at 2/12, one B->D at 6/12: 119 and 115 months are spent."""
    counts = np.array([[0, 1, 0], [1, 0, 1], [0, 0, 0]], dtype=np.float64)
    intensities = generator(counts, array(119 / 12, 115 / 12, 6 / 12))
    assert intensities[0, 1] == pytest.approx(0.100840, abs=5e-7)
    assert intensities[1, [0, 2]] == pytest.approx(0.104348, abs=5e-7)
    year = transition_matrix(intensities, 1.0)
    assert year[0] == pytest.approx([0.90867, 0.08657, 0.00475], abs=5e-6)
    assert year[1] == pytest.approx([0.08959, 0.81607, 0.09434], abs=5e-6)
    assert year[2].tolist() == [0, 0, 1]


def test_bandwidth_and_z():
    counts = np.array([[80, 15, 5], [10, 70, 20], [5, 15, 80]], dtype=np.float64)
    assert bandwidth(counts) == pytest.approx((0.75, 0.70))
    assert cell_z(counts, 0, 2) == pytest.approx(2.294157, abs=5e-7)


def test_jeffreys_and_binomial():
    pd, loans, defaults = array(0.10342906086898278, 0.09952395992070007), array(406, 480), array(55, 41)
    assert jeffreys_p(pd, loans, defaults) == pytest.approx([0.01995857, 0.84955196], abs=5e-9)
    assert binomial_p(pd, loans, defaults) == pytest.approx([0.02389227, 0.86744061], abs=5e-9)


def test_vasicek():
    found = [stressed_pd(array(0.01), factor, 0.15)[0] for factor in (1, 0, -1, -2)]
    assert found == pytest.approx([0.001623, 0.005813, 0.017724, 0.046177], abs=5e-7)
    assert stressed_pd(array(0, 1), -1, 0.15).tolist() == [0, 1]


GOLDEN_TERMS = [(array(h), array(0.45), array(e)) for h, e in ((0.02, 1000), (0.03, 700), (0.04, 400))]


def test_expected_loss():
    """Annual, discounted from the end; stage 1 stops after the horizon."""
    first, whole = expected_losses(GOLDEN_TERMS, array(0.10), "end_of_period", 1, 1)
    assert (first[0], whole[0]) == (pytest.approx(8.181818, abs=5e-7), pytest.approx(20.977776, abs=5e-7))
    two, _ = expected_losses(GOLDEN_TERMS, array(0.10), "end_of_period", 1, 2)
    assert two[0] - first[0] == pytest.approx(7.653719, abs=5e-7)
    assert whole[0] - two[0] == pytest.approx(5.142239, abs=5e-7)
    _, middle = expected_losses(GOLDEN_TERMS, array(0.10), "mid_period", 1, 1)
    assert middle[0] == pytest.approx(20.977776 * 1.1**0.5, abs=5e-6)


def curve(*rows: tuple[int, int, float, float, float]) -> pl.DataFrame:
    names = ("months_since_default", "open_loans", "open_exposure", "ended_exposure", "recovered")
    return pl.DataFrame(rows, schema=names, orient="row")


def test_loss_given_default():
    """10,000; 2,800 after half a year, 2,500 after one, 1,400 after two, at 8 %. Ages without a row are as open."""
    paid = {6: 2800 * 1.08**-0.5, 12: 2500 / 1.08, 24: 1400 / 1.08**2}
    rows = curve((0, 1, 10_000.0, 0.0, 0.0), *((age, 1, 10_000.0, 0.0, amount) for age, amount in paid.items()))
    found = loss_given_default(rows, POLICY.loss.model_copy(update={"min_workouts": 1}))
    assert found.given_default == found.own == pytest.approx(0.379061, abs=5e-7)
    assert (found.extrapolated, found.workouts, found.why_policy) == (0, 1, None)


def test_price():
    policy = POLICY.price.model_copy(
        update={"funding_cost": 0.04, "operating_cost": 0.02, "return_on_equity": 0.15, "tax_rate": 0.25}
    )
    assert risk_based_price(0.03, 0.60, 0.08, policy) == pytest.approx(0.0908)


@pytest.mark.parametrize(
    ("asset_class", "lgd", "percent"),
    [("corporate", 0.45, 92.32), ("mortgage", 0.45, 56.40), ("revolving_retail", 0.85, 32.53)],
)
def test_risk_weights(asset_class, lgd, percent):
    assert 100 * risk_weight(array(0.01), lgd, asset_class)[0] == pytest.approx(percent, abs=0.005)


# --- what must hold of any book


@settings(max_examples=25)
@given(st.integers(0, 10_000))
@example(6956)  # two states that are left at one rate, and no way back
def test_rows_of_a_transition_matrix_add_up_to_1(seed):
    random = np.random.default_rng(seed)
    size = int(random.integers(1, 8))
    counts = random.integers(0, 50, (size, size)) * (random.random((size, size)) < 0.6)
    years = counts.sum(axis=1) / random.uniform(1, 12) * (random.random(size) < 0.9)
    intensities = generator(counts.astype(np.float64), years)
    assert np.allclose(intensities.sum(axis=1), 0)
    for time in (0.0, 1 / 12, 1.0, 7.0):
        found = transition_matrix(intensities, time)
        assert np.allclose(found.sum(axis=1), 1) and (found >= 0).all()
    once = transition_matrix(intensities, 1.0)
    assert np.allclose(transition_matrix(intensities, 2.0), once @ once)


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
    """Steps of loans that stand at both dates, whatever changes; a step of which nothing changed is 0."""
    random = np.random.default_rng(seed)
    before, after = random_loans(random, 20), random_loans(random, 20)
    kept = {f.name: getattr(before, f.name) for f in fields(Loans) if random.random() < 0.3}
    after = replace(after, **kept)
    steps = movement(before, after, POLICY.ifrs9)
    assert (weighted_loss(before, POLICY.ifrs9) + sum(steps.values()) == weighted_loss(after, POLICY.ifrs9)).all()
    for step, name in (("stage_moves", "stage"), ("pd", "pd"), ("lgd", "loss"), ("fx_other", "annual_rate")):
        assert name not in kept or not steps[step].any()


def exposures(random: np.random.Generator, ids: list[int]) -> pl.DataFrame:
    """Rows as `port_exposures` has them, with PDs."""
    count = len(ids)
    is_default = random.random(count) < 0.1
    pd = np.where(is_default, 1.0, random.uniform(0.0005, 0.6, count))
    return pl.DataFrame(
        {
            "loan_id": [f"L{n:03}" for n in ids],
            "month_on": dt.date(2020, 3, 31),
            "product": "loan",
            "currency": random.choice(["EUR", "USD"], count) if count else pl.Series([], dtype=pl.String),
            "is_default": is_default,
            "is_probation": random.random(count) < 0.1,
            "is_forborne": random.random(count) < 0.1,
            "dpd_end": random.integers(0, 60, count),
            "pd": pd,
            "pd_first": random.uniform(0.0005, 0.6, count),
            "pd_basis": "score",
            "arrears_basis": "ledger",
            "exposure_at_default": pl.Series(random.integers(0, 10**8, count), dtype=pl.Int64).cast(pl.Decimal(18, 2)),
            "annual_rate": pl.Series(random.choice([0.05, 0.2], count)).cast(pl.Float64),
            "remaining_months": pl.Series(random.integers(1, 40, count)).cast(pl.Int32),
            "is_revolving": random.random(count) < 0.5,
        },
        schema_overrides={
            "month_on": pl.Date(),
            **dict.fromkeys(("loan_id", "product", "currency", "pd_basis", "arrears_basis"), pl.String()),
            **dict.fromkeys(("is_default", "is_probation", "is_forborne", "is_revolving"), pl.Boolean()),
            **dict.fromkeys(("pd", "pd_first"), pl.Float64()),
            "dpd_end": pl.Int32(),
            "exposure_at_default": pl.Decimal(18, 2),
        },
    )


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30)))
def test_table_of_the_movement_adds_up_by_currency(seed, ids_before, ids_now):
    """Opening + new + derecognised + steps = closing, and the closing is what the loans' own losses add up to."""
    random = np.random.default_rng(seed)
    losses = pl.DataFrame(
        {"currency": ["EUR", "USD"], "as_of_on": dt.date(2020, 3, 31), "loss_given_default": [0.4, 0.6]}
    )
    currency = {n: str(random.choice(["EUR", "USD"])) for n in range(31)}  # a loan's currency does not change
    before, now = (
        staged(
            exposures(random, sorted(ids)).with_columns(
                pl.Series("currency", [currency[n] for n in sorted(ids)], dtype=pl.String)
            ),
            losses,
            POLICY.ifrs9,
            0.08,
        )
        for ids in (ids_before, ids_now)
    )
    moved = movement_of(before, now, POLICY.ifrs9)
    lost = expected_losses_of(before, now, POLICY.ifrs9)
    for (name,), rows in moved.sort("position").group_by("currency"):
        assert rows["component"].to_list() == list(COMPONENTS)
        amounts = rows["amount"].to_list()
        assert sum(amounts[:-1]) == amounts[-1]
        assert amounts[-1] == (lost.filter(pl.col("currency") == name)["expected_loss"].sum() or Decimal(0))
    assert (lost["expected_loss"] <= lost["exposure_at_default"] + Decimal("0.01")).all()


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
    """12 months, life, all; the weights are on the losses; a bad year costs more."""
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


@given(st.integers(0, 10_000))
def test_open_workouts_are_carried_on_and_not_dropped(seed):
    """Workouts cut off at random: what they lose in the end is found again; the cut ones alone would say too much."""
    random = np.random.default_rng(seed)
    count, months = 4_000, 24
    end = random.integers(1, 60, count)  # many outlast the window
    monthly, cured = 0.01, random.random(count) < 0.5
    followed = random.integers(0, months + 1, count)
    rows, lost = [], 1 - np.minimum(np.minimum(end, months) * monthly + 0.5 * (cured & (end <= months)), 1.0).mean()
    ended_at = np.where(cured & (end <= months), end, months + 1)
    age = np.minimum(followed, ended_at)
    for k in range(months + 1):
        still = age >= k
        ends = still & (age == k) & (ended_at == k) & (k > 0)
        came = still & (k > 0) & (k <= end)
        rows.append(
            (k, int(still.sum()), float(still.sum()), float(ends.sum()), monthly * came.sum() + 0.5 * ends.sum())
        )
    found = loss_given_default(curve(*rows), POLICY.loss)
    assert found.own == pytest.approx(lost, abs=0.03)
    assert found.extrapolated > 0.1
    assert found.own + found.extrapolated > lost + 0.1, "what is known so far is too high a loss"


def test_policy_stands_where_workouts_are_too_few_or_too_short():
    few = loss_given_default(curve((0, 3, 30.0, 0.0, 0.0), (20, 3, 30.0, 0.0, 10.0)), POLICY.loss)
    assert (few.given_default, few.own) == (0.45, pytest.approx(2 / 3))
    assert few.why_policy == "3 workouts, 30 are needed"
    short = loss_given_default(curve((0, 99, 30.0, 0.0, 0.0), (5, 3, 30.0, 0.0, 10.0)), POLICY.loss)
    assert short.why_policy == "workouts were followed for 5 months, 12 are needed"
    assert loss_given_default(curve(), POLICY.loss).why_policy == "0 workouts, 30 are needed"


# --- static pools


def vintages(rates: dict[int, list[int]], loans: int = 1000) -> pl.DataFrame:
    """Cumulative defaults by cohort (months since 2018-01) and month on book."""
    month = pl.date_range(dt.date(2018, 1, 1), dt.date(2030, 1, 1), "1mo", eager=True).dt.month_end()
    rows = [
        ("lender", "loan", "EUR", month[c], mob, month[c + mob], loans, defaults)
        for c, row in rates.items()
        for mob, defaults in enumerate(row)
    ]
    names = ["source", "product", "currency", "cohort_on", "mob", "month_on", "loans", "default_loans"]
    return pl.DataFrame(rows, schema=names, orient="row").with_columns(pl.col("mob", "loans").cast(pl.Int32))


def test_overshoot_is_flagged_before_the_trigger_is_hit():
    """Three cohorts end at 3 % after 30 months; one runs at twice that: forecast at 3 %, it would end at 6 %."""
    usual = {c: list(range(31)) for c in (0, 1, 2)}
    pools = static_pools(vintages(usual | {24: [2 * m for m in range(31)]}), POLICY.static_pools)
    bad = pools.filter(pl.col("cohort_on") == dt.date(2020, 1, 31))
    flagged = bad.filter(pl.col("status").str.starts_with("forecast") & pl.col("is_worse"))
    hit = bad.filter(pl.col("status").str.starts_with("hit"))
    assert (hit["mob"].min(), hit["default_rate"].min()) == (25, 0.05)
    assert flagged["mob"].min() <= 15
    assert bad["distance_to_amber"][10] == pytest.approx(0.03)
    assert bad["forecast_rate"][29] == pytest.approx(0.06, abs=0.001)
    good = pools.filter(pl.col("cohort_on") == dt.date(2018, 3, 31))
    assert (good["forecast_to_mob"][15], good["forecast_rate"][15]) == (17, pytest.approx(0.017))
    assert set(good["status"]) == {"clear"} and not good["is_worse"].any()


def test_each_month_is_judged_by_what_was_known_in_it():
    """Rows of later months change no earlier row; a cohort that nobody was before has no forecast."""
    whole = vintages({c: [c * m // 4 for m in range(20 - c)] for c in range(0, 12, 3)})
    until = whole.filter(pl.col("month_on") <= dt.date(2018, 12, 31))
    pools, then = (static_pools(rows, POLICY.static_pools) for rows in (whole, until))
    assert pools.filter(pl.col("month_on") <= dt.date(2018, 12, 31)).equals(then)
    alone = static_pools(whole.filter(pl.col("cohort_on") == dt.date(2018, 1, 31)), POLICY.static_pools)
    assert set(alone["status"]) == {"no_forecast"}
    assert alone["expected_rate"].null_count() == alone.height


@given(st.integers(0, 1_000))
def test_expected_defaults_are_those_of_the_others_at_the_same_age(seed):
    random = np.random.default_rng(seed)
    rates = {int(c): np.cumsum(random.integers(0, 9, 12 - c)).tolist() for c in random.choice(10, 4, replace=False)}
    pools = static_pools(vintages(rates), POLICY.static_pools)
    first = min(rates)
    for row in pools.filter(pl.col("expected_rate").is_not_null()).iter_rows(named=True):
        own = (row["cohort_on"].year - 2018) * 12 + row["cohort_on"].month - 1
        now, expected = own + row["mob"], 0.0
        for mob in range(row["mob"] + 1):
            others = [c for c in rates if c != own and c + mob <= now]
            new = sum(rates[c][mob] - (rates[c][mob - 1] if mob else 0) for c in others)
            expected += new / (1000 * len(others))
        assert row["expected_rate"] == pytest.approx(expected, abs=1e-8)
    assert first in rates


def test_no_vintage_makes_an_empty_table():
    found = static_pools(vintages({0: [0]}).clear(), POLICY.static_pools)
    assert set(found.columns) == set(empty("port_static_pools").columns)


# --- grades, coverage, policy


def test_grades_their_moves_and_their_concentration():
    order = ["R1", "R2", "D"]
    before = pl.DataFrame({"loan_id": ["1", "2", "3", "4"], "grade": ["R1", "R1", "R2", "R2"]})
    after = pl.DataFrame({"loan_id": ["1", "2", "3", "5"], "grade": ["R1", "D", "R1", "R2"]})
    moved = moves(before, after, order)
    assert moved.sort("from_grade", "to_grade").select("from_grade", "to_grade", "loans", "share").rows() == [
        ("R1", "D", 1, 0.5),
        ("R1", "R1", 1, 0.5),
        ("R2", "R1", 1, 1.0),
    ]
    loans = pl.DataFrame(
        {
            "grade": ["R1", "R1", "R2", "D"],
            "pd": [0.01, 0.01, 0.05, 1.0],
            "balance": pl.Series(["100", "300", "50", "10"]).cast(pl.Decimal(18, 2)),
            "annual_rate": [0.04, 0.08, None, 0.2],
        }
    )
    grades = by_grade(loans, 0.45, POLICY.price, priced=True)
    assert grades["grade"].to_list() == ["D", "R1", "R2"]
    assert grades["agreed_rate"].to_list() == [0.2, 0.07, None]
    assert grades["price"].is_null().to_list() == [True, False, False]
    weight = risk_weight(array(0.01), 0.45, "other_retail")[0]
    price = POLICY.price
    capital = 0.08 * weight
    assert grades["price"][1] == pytest.approx(
        price.funding_cost * (1 - capital) + price.operating_cost + 0.0045 + capital * 0.15 / 0.75, abs=1e-8
    )
    assert by_grade(loans, 0.45, price, priced=False)["price"].null_count() == 3
    (row,) = concentration(grades, moved, order, POLICY.limits.grade_hhi).rows(named=True)
    assert row["hhi"] == pytest.approx(herfindahl(array(0.5, 0.25, 0.25))) == pytest.approx(0.375)
    assert (row["status"], row["largest_share"], row["moved_loans"]) == ("red", 0.5, 3)


def test_what_cannot_be_said_is_said_with_its_reason():
    rows = {"port_vintages": 0, "port_roll_rates": 9, "port_client_money": 0}
    found = coverage(
        "cards",
        rows,
        is_dated=False,
        months=6,
        moves=5,
        matrix_months=12,
        forecasts=0,
        why_policy_loss="3 workouts, 30 are needed",
        why_no_expected_loss="its PD looks one month ahead",
    )
    said = {subject: (status, reason) for _, subject, status, reason in found.iter_rows()}
    assert said["vintages"] == said["static_pools"]
    assert said["vintages"][0] == "none" and "when a loan was opened" in said["vintages"][1]
    assert said["roll_rates"] == ("available", None)
    assert said["transitions"] == ("short", "moves of 5 months are told, the matrix is of 12")
    assert said["loss_given_default"][0] == "short" and said["expected_loss"][0] == "none"


def test_book_without_a_month_lacks_months_and_not_dates():
    rows = dict.fromkeys(("port_vintages", "port_roll_rates", "port_client_money"), 0)
    why = {"why_policy_loss": None, "why_no_expected_loss": None}
    found = coverage("new", rows, is_dated=False, months=0, moves=0, matrix_months=12, forecasts=0, **why)
    said = {subject: reason for _, subject, _, reason in found.iter_rows()}
    assert said["vintages"] == said["static_pools"] == "no loan has a whole month yet"
    assert said["roll_rates"] == said["transitions"] == "0 month-ends are told, two are needed"


def test_every_table_has_its_keys_first():
    for name, keys in TABLES.items():
        assert set(keys) <= set(empty(name).columns), name
