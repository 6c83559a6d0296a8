"""The simulator: cents that add up, the same bytes for the same seed, and a truth that is true."""

import datetime as dt
import hashlib

import numpy as np
import polars as pl
import pytest
from scipy.stats import beta

from dagster_project.ingestion.reading import read_records
from dagster_project.ingestion.rules import check_rows
from dagster_project.ingestion.source import load_sources
from dagster_project.simulator.behaviour import hazard_index, transitions
from dagster_project.simulator.clock import generator
from dagster_project.simulator.macro import SHOCK, macro_path
from dagster_project.simulator.schedules import annuity, instalments, split
from dagster_project.simulator.simulate import Plan, simulate
from dagster_project.simulator.truth import HORIZON, true_pd


def digests(folder):
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()
    }


def test_schedules_add_up_to_the_cent():
    random = np.random.default_rng(1)
    principal = random.integers(50_000, 6_000_000, 5_000)
    rate, term = random.uniform(0.01, 0.5, 5_000), random.integers(1, 61, 5_000)
    instalment = annuity(principal, rate, term)
    made = instalments(principal, rate, instalment, term)
    assert (np.bincount(made.loan, made.principal) == principal).all()
    assert (np.bincount(made.loan) == term).all()
    assert (made.principal > 0).all() and (made.interest >= 0).all()
    amount, is_last = made.principal + made.interest, made.number == term[made.loan]
    assert (amount[~is_last] == instalment[made.loan][~is_last]).all()
    assert (np.abs(amount - instalment[made.loan])[is_last] <= 200).all()


def test_golden_annuity():
    """1,000.00 at 12 % over 12 months is 88.85 a month; the first instalment holds 10.00 of interest."""
    one = lambda value: np.array([value])
    instalment = annuity(one(100_000), one(0.12), one(12))
    assert instalment.item() == 8_885
    assert [part.item() for part in split(one(100_000), one(0.12), instalment, one(12))] == [7_885, 1_000]


def test_same_seed_same_bytes(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        simulate(Plan(300, 9, seed), tmp_path / name)
    first, again, other = (digests(tmp_path / name) for name in "abc")
    assert first == again
    differing = [path for path, digest in first.items() if digest != other.get(path)]
    assert len(differing) == len(first)


def test_a_folder_is_never_written_over(tmp_path):
    simulate(Plan(10, 2, seed=1), tmp_path)
    with pytest.raises(FileExistsError):
        simulate(Plan(10, 2, seed=1), tmp_path)


def test_parts_are_independent():
    assert generator(1, "macro").random() != generator(1, "loans").random()
    assert generator(1, "behaviour", 1).random() != generator(1, "behaviour", 2).random()
    path, shocked = macro_path(3, 40), macro_path(3, 40, shock_month=10)
    assert (path[:10] == shocked[:10]).all()
    assert shocked[10] - path[10] == SHOCK


def test_chain_is_a_chain():
    matrix = transitions(np.linspace(-5, 5, 200), stress=1.5)
    assert np.abs(matrix.sum(axis=2) - 1).max() < 1e-12
    assert (matrix >= 0).all()


def test_true_pd_is_the_chains_matrix_carried_back():
    """Against the whole transition matrices, multiplied out in the plain way."""
    hazard, opened, count = np.array([-1.0, 0.3, 2.0]), np.array([0, 2, 4]), np.array([9, 36, 60])
    stress, months = macro_path(5, 10 + HORIZON, shock_month=8), 10
    pd = true_pd(hazard, opened, count, stress, months)
    for i, month in ((0, 0), (0, 5), (1, 7), (2, 9)):
        # Ages at which b behind means that nothing is left are closed; their probability goes nowhere.
        chance = np.eye(6)[:4]
        for later in range(month + 1, month + HORIZON + 1):
            age = later - opened[i]
            chance = (
                chance @ transitions(hazard_index(hazard[i : i + 1], np.array([age]), stress[later]), stress[later])[0]
            )
            chance[:, :4] *= age - np.arange(4) < count[i]
        is_open = month - opened[i] - np.arange(4) < count[i]
        np.testing.assert_allclose(pd[:, month, i], chance[:, 4] * is_open, atol=1e-12)


def test_defaults_come_as_often_as_the_true_pd_says(tmp_path):
    """One row a loan, by decile of the true PD, with a shock and a segment's drift within the window."""
    simulate(Plan(20_000, 36, seed=11, shock_month=20, drift_month=14), tmp_path)
    months = pl.read_parquet(tmp_path / "truth/loan_months/*.parquet").with_columns(
        n=(pl.col("month_on").dt.year() * 12 + pl.col("month_on").dt.month()).cast(pl.Int32)
    )
    # The month is drawn for each loan before anything is known of its end: of its own months one that is early would
    # be drawn too often where the loan soon defaults.
    loans = months.group_by("loan_id", maintain_order=True).agg(
        pl.col("n").min().alias("opened"), pl.col("n").filter(pl.col("state") == "default").min().alias("defaulted")
    )
    last = months["n"].max() - HORIZON
    draw = pl.Series(np.random.default_rng(3).random(loans.height))
    drawn = loans.with_columns(n=(pl.col("opened") + draw * (last + 1 - pl.col("opened"))).floor().cast(pl.Int32))
    asked = drawn.filter(pl.col("opened") <= last).join(months, on=["loan_id", "n"]).drop_nulls("pd_12m")
    at_risk = asked.filter(pl.col("defaulted").is_null() | (pl.col("defaulted") > pl.col("n")))  # never yet in default
    rows = at_risk.with_columns(
        hit=(pl.col("defaulted") - pl.col("n") <= HORIZON).fill_null(value=False),
        decile=(pl.col("pd_12m").rank("ordinal") - 1) * 10 // at_risk.height,
    )
    tens = rows.group_by("decile").agg(pl.len().alias("n"), pl.col("hit").sum(), pl.col("pd_12m").mean())
    assert tens.height == 10 and tens["hit"].sum() > 200
    for _, n, hit, pd in tens.iter_rows():
        low, high = beta.ppf([0.0025, 0.9975], hit + 0.5, n - hit + 0.5)
        assert low <= pd <= high, (n, hit, pd, low, high)


def test_segment_drifts_as_planned(tmp_path):
    """Car loans, 30+ days past due of those not in default: 1.76 %, and 3.01 % four months later, up to noise."""
    simulate(Plan(60_000, 23, seed=6, drift_month=18), tmp_path)
    loans = pl.concat([pl.read_csv(p) for p in (tmp_path / "landing/simulated").glob("loans-*.csv")])
    cars = loans.filter(pl.col("product") == "car_loan").select(pl.col("loan_no").cast(pl.String).alias("loan_id"))
    months = pl.read_parquet(tmp_path / "truth/loan_months/*.parquet").join(cars, on="loan_id", how="semi")
    open_ones = months.filter(~pl.col("state").is_in(["default", "closed"]), pl.col("month_on") >= dt.date(2019, 7, 31))
    late = pl.col("state").is_in(["2 behind", "3 behind"])
    shares = open_ones.group_by("month_on").agg(pl.len(), late.mean().alias("share")).sort("month_on")
    wanted = [0.0176 + 0.0125 * k / 4 for k in range(5)]
    assert shares.height == 5
    for (_, count, share), expected in zip(shares.iter_rows(), wanted, strict=True):
        assert abs(share - expected) < 3 * (expected * (1 - expected) / count) ** 0.5, shares


def test_files_are_what_the_contract_says(tmp_path):
    simulate(Plan(2_000, 12, seed=4), tmp_path)
    contract, seen = load_sources()["simulated"].contract, set()
    for path in sorted((tmp_path / "landing/simulated").iterdir()):
        layout = contract.layout_of(path.name)
        checked = check_rows(read_records(path.read_bytes(), layout).text, layout)
        assert checked.bad.is_empty() and checked.duplicates.is_empty(), path.name
        assert str(contract.arrives_on(path.name)) == path.stem.split("-", 1)[1]
        seen.add(layout.name)
    assert seen == {layout.name for layout in contract.layouts}


def test_truth_is_not_in_the_book(tmp_path):
    """Latent risk and true PD are in no file that is dropped."""
    simulate(Plan(200, 6, seed=4), tmp_path)
    columns = {c for p in (tmp_path / "landing").rglob("*.csv") for c in pl.read_csv(p, n_rows=1).columns}
    assert not columns & {"risk", "hazard", "stress", "state", "pd_12m"}
