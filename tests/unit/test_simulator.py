"""The simulator: cents that add up, the same bytes for the same seed, and a truth that is true."""

import datetime as dt
import hashlib
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy.stats import beta

from dagster_project.ingestion.contracts.source import load_sources
from dagster_project.ingestion.parsing.records import read_records
from dagster_project.ingestion.parsing.row_rules import check_rows, read_as
from dagster_project.simulator import ledger
from dagster_project.simulator.behaviour import hazard_index, transitions
from dagster_project.simulator.clock import generator
from dagster_project.simulator.deferral import MONTHS as HOLIDAY
from dagster_project.simulator.deferral import NEVER
from dagster_project.simulator.macro import SHOCK, macro_path
from dagster_project.simulator.planted import FRAUD, PlanError, switches
from dagster_project.simulator.schedules import annuity, instalments, split
from dagster_project.simulator.simulate import Plan, simulate
from dagster_project.simulator.truth import HORIZON, true_pd, true_pd_with_holiday


def table(folder, name):
    """All files of one table of a book, as text."""
    files = sorted((folder / "landing/simulated").glob(f"{name}-*.csv"))
    return pl.concat([pl.read_csv(f, infer_schema=False) for f in files])


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
        plan = Plan(40, 18, seed, opened_within=3, deferral_month=2, planted=switches(["all"]), dirt=True)
        simulate(plan, tmp_path / name)
    first, again, other = (digests(tmp_path / name) for name in "abc")
    assert first == again
    differing = [path for path, digest in first.items() if digest != other.get(path)]
    assert len(differing) > 0.99 * len(first), "a file of one line may be the same by chance"


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


def test_true_pd_with_a_holiday_is_the_chain_of_pairs():
    """Against a plain chain whose states are (months behind, in or after a holiday): 0 behind turns over by the lot."""
    hazard, opened, count, lots = 1.1, 0, 30, 7
    stress, months = macro_path(5, 12 + HORIZON), 12
    one = lambda value: np.array([value])
    before, after = true_pd_with_holiday(one(hazard), one(opened), one(count), stress, months, one(lots))
    for month in range(months):
        for begins_within in (False, True):
            if begins_within and month < lots - 1:
                continue  # nobody has a holiday before it is granted
            chance = np.zeros((4, 2, 6))  # by first state: outside, and with a holiday granted
            for b in range(4):
                chance[b, int(begins_within), b] = 1
            for m in range(month, month + HORIZON):
                if m == lots - 1:
                    chance[:, 1, 0] += chance[:, 0, 0]
                    chance[:, 0, 0] = 0
                for world, rested in ((0, 0), (1, min(max(m + 1 - lots + 1, 0), HOLIDAY))):
                    if world == 1 and lots <= m + 1 < lots + HOLIDAY:
                        continue
                    index = hazard_index(one(hazard), one(m + 1 - opened - rested), stress[m + 1])
                    chance[:, world] = chance[:, world] @ transitions(index, stress[m + 1])[0]
                    chance[:, world, :4] *= m + 1 - opened - rested - np.arange(4) < count
            is_open = np.array([month - opened - b < count for b in range(4)])
            expected = chance[:, :, 4].sum(axis=1) * is_open
            found = (after if begins_within else before)[:, month, 0]
            known = slice(0, 1) if begins_within and month < lots + HOLIDAY else slice(None)
            np.testing.assert_allclose(found[known], expected[known], atol=1e-12, err_msg=f"{month} {begins_within}")
    without = true_pd(one(hazard), one(opened), one(count), stress, months)
    np.testing.assert_allclose(
        true_pd_with_holiday(one(hazard), one(opened), one(count), stress, months, one(NEVER))[0], without
    )
    assert np.abs(before - without)[0].max() > 1e-3, "a holiday within the window matters"


def test_defaults_come_as_often_as_the_true_pd_says(tmp_path):
    """One row per loan, by decile of the true PD, with a shock, drift, holidays and risk shifts in the window."""
    names = frozenset({"channel_drift", "cohort_month"})
    plan = Plan(14_000, 36, seed=12, shock_month=20, drift_month=14, deferral_month=16, planted=names)
    simulate(plan, tmp_path)
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
    simulate(Plan(40_000, 23, seed=6, drift_month=18), tmp_path)
    loans = table(tmp_path, "loans")
    cars = loans.filter(pl.col("product") == "car_loan").select(pl.col("loan_no").alias("loan_id"))
    months = pl.read_parquet(tmp_path / "truth/loan_months/*.parquet").join(cars, on="loan_id", how="semi")
    open_ones = months.filter(~pl.col("state").is_in(["default", "closed"]), pl.col("month_on") >= dt.date(2019, 7, 31))
    late = pl.col("state").is_in(["2 behind", "3 behind"])
    shares = open_ones.group_by("month_on").agg(pl.len(), late.mean().alias("share")).sort("month_on")
    wanted = [0.0176 + 0.0125 * k / 4 for k in range(5)]
    assert shares.height == 5
    for (_, count, share), expected in zip(shares.iter_rows(), wanted, strict=True):
        assert abs(share - expected) < 3 * (expected * (1 - expected) / count) ** 0.5, shares


def test_truth_is_not_in_the_book(tmp_path):
    """Latent risk and true PD are in no file that is dropped."""
    simulate(Plan(200, 6, seed=4), tmp_path)
    assert pl.read_parquet(tmp_path / "truth/planted.parquet").is_empty()
    columns = {c for p in (tmp_path / "landing").rglob("*.csv") for c in pl.read_csv(p, n_rows=1).columns}
    assert not columns & {"risk", "hazard", "stress", "state", "pd_12m"}


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """A book with holidays and everything planted."""
    folder = tmp_path_factory.mktemp("book")
    simulate(Plan(4_000, 24, seed=5, opened_within=14, deferral_month=10, planted=switches(["all"])), folder)
    return folder


def cents(name):
    return (pl.col(name).cast(pl.Float64) * 100).round().cast(pl.Int64)


def test_client_money_adds_up_each_day_and_is_what_borrowers_pay(book):
    money = table(book, "client_money").with_columns(cents("amount"))
    by_day = money.group_by("booked_on").agg(
        pl.col("amount").filter(pl.col("kind") == kind).sum().alias(kind)
        for kind in ("received", "allocated", "refunded")
    )
    by_day = by_day.sort("booked_on").with_columns(
        left=(pl.col("received") - pl.col("allocated") - pl.col("refunded")).cum_sum()
    )
    assert by_day["left"].min() == 0 and by_day["left"].max() > 0
    assert by_day["refunded"].sum() > 0 and money["booking_no"].is_unique().all()
    joint = table(book, "funding").select("loan_no").unique()
    days = pl.col("paid_on").str.to_date() <= dt.date(2019, 12, 31) - dt.timedelta(days=6)
    paid = table(book, "payments").join(joint, on="loan_no", how="semi").filter(days)
    allocated = money.filter(pl.col("kind") == "allocated")
    assert set(allocated["loan_no"]) <= set(joint["loan_no"])
    # A double booking is taken back by another, and moves no money; the last days' payments may wait to be allocated.
    ends_with = lambda digits: pl.col("payment_no").str.slice(-1).is_in(digits)
    moved = paid.filter(~ends_with(["3", "4"]))
    numbers = allocated.select(pl.col("booking_no").str.slice(0, pl.col("booking_no").str.len_chars() - 1), "amount")
    both = moved.join(numbers, left_on="payment_no", right_on="booking_no", how="left", suffix="_allocated")
    assert both.filter(cents("amount") != pl.col("amount_allocated")).is_empty()
    assert both["amount_allocated"].null_count() == 0 and both.height > 5_000


def test_shares_of_a_joint_loan_add_up(book):
    shares = table(book, "funding").with_columns(pl.col("share").cast(pl.Decimal(9, 6)))
    loans = shares.group_by("loan_no").agg(
        pl.col("share").sum().alias("all"), pl.col("share").filter(pl.col("partner") == "own").sum().alias("own")
    )
    assert loans.filter(pl.col("all") != 1).is_empty()
    assert loans["own"].min() >= 0 and float(loans["own"].max()) <= 0.7
    assert 0.2 < loans.height / 4_000 < 0.35
    assert shares.select("loan_no", "partner").is_unique().all()


def test_write_offs_and_holidays_are_told(book):
    events, truth = table(book, "events"), pl.read_parquet(book / "truth/loans.parquet")
    told = lambda kind: set(events.filter(pl.col("kind") == kind)["loan_no"])
    assert told("write_off") == set(truth.filter("is_written_off")["loan_id"]) and len(told("write_off")) > 50
    deferred = truth.drop_nulls("deferred_from")
    assert told("deferral_start") == told("deferral_end") == set(deferred["loan_id"]) and deferred.height > 200
    assert len(told("restructured")) > 10
    # In a holiday nothing is due, nothing is paid, and nobody is behind.
    months = pl.read_parquet(book / "truth/loan_months/*.parquet").join(deferred, on="loan_id")
    within = (pl.col("month_on") > pl.col("deferred_from")) & (
        pl.col("month_on") < pl.col("deferred_from").dt.offset_by(f"{HOLIDAY}mo")
    )
    assert months.filter(within)["state"].unique().to_list() == ["current"]
    paid = table(book, "payments").select(pl.col("loan_no").alias("loan_id"), pl.col("paid_on").str.to_date())
    rests = pl.col("paid_on").is_between(
        pl.col("deferred_from"), pl.col("deferred_from").dt.offset_by(f"{HOLIDAY}mo"), closed="left"
    )
    assert paid.join(deferred, on="loan_id").filter(rests).is_empty()


def test_statements_of_cards_carry_on(book):
    """What is owed is what was owed, less what is paid, and what is bought, and interest on what was left."""
    cards = table(book, "loans").filter(pl.col("product") == "card").select("loan_no", "annual_rate", "limit")
    rows = table(book, "statements").join(cards, on="loan_no").sort("loan_no", "month_on")
    rows = rows.with_columns(cents(c) for c in ("balance", "purchases", "due", "paid"))
    rows = rows.with_columns(before=pl.col("balance").shift(1).over("loan_no")).drop_nulls("before")
    left = pl.col("before") - pl.col("paid")
    interest = (left * pl.col("annual_rate").cast(pl.Float64) / 12).round().cast(pl.Int64)
    assert (
        rows.height > 3_000
        and (rows["balance"] == rows.select(left + interest + pl.col("purchases")).to_series()).all()
    )
    assert (rows["due"] > 0).all() and (rows["due"] <= rows["before"]).all()
    within = rows.filter(pl.col("purchases") > 10_000)
    assert (within["balance"] <= within["limit"].cast(pl.Float64) * 100 + 1).all()
    months = pl.read_parquet(book / "truth/loan_months/*.parquet").join(cards, left_on="loan_id", right_on="loan_no")
    assert {"current", "1 behind", "2 behind", "3 behind", "default", "closed"} == set(months["state"])


def test_cards_are_as_far_behind_as_the_chain_says(tmp_path, monkeypatch):
    """Minimums unpaid, first in, first out, from schedules and payments alone, where each pays in default."""
    monkeypatch.setattr(ledger, "RECOVERY", 1.0)
    simulate(Plan(6_000, 22, seed=5, opened_within=1, planted=frozenset({"cohort_month"})), tmp_path)
    cards = table(tmp_path, "loans").filter(pl.col("product") == "card").select("loan_no")
    due = table(tmp_path, "schedules").join(cards, on="loan_no").filter(pl.col("instalment_no") == "1")
    due = due.sort("loan_no", "due_on", "valid_from").unique(["loan_no", "due_on"], keep="last", maintain_order=True)
    due = due.select("loan_no", "due_on", due_so_far=cents("amount").cum_sum().over("loan_no"))
    paid = (
        table(tmp_path, "payments")
        .join(cards, on="loan_no")
        .select("loan_no", "paid_on", cents("amount"))
        .sort("paid_on")
    )
    paid = paid.select("loan_no", "paid_on", paid_so_far=pl.col("amount").cum_sum().over("loan_no"))
    months = pl.read_parquet(tmp_path / "truth/loan_months/*.parquet")
    asked = months.select(pl.col("loan_id").alias("loan_no"), pl.col("month_on").cast(pl.String), "state")
    asked = asked.join(cards, on="loan_no").sort("month_on")
    unpaid = (
        asked.join(paid, on="loan_no", how="left")
        .group_by("loan_no", "month_on", "state")
        .agg(pl.col("paid_so_far").filter(pl.col("paid_on") <= pl.col("month_on")).last().fill_null(0))
        .join(due, on="loan_no")
        .filter(pl.col("due_on") <= pl.col("month_on"))
        .group_by("loan_no", "month_on", "state")
        .agg((pl.col("due_so_far") > pl.col("paid_so_far")).sum().alias("behind"))
    )
    behind = {"current": 0, "1 behind": 1, "2 behind": 2, "3 behind": 3, "default": 4, "closed": 0}
    expected = pl.col("state").cast(pl.String).replace_strict(behind, return_dtype=pl.Int64)
    wrong = unpaid.filter(pl.col("behind").cast(pl.Int64).clip(0, 4) != expected)
    assert wrong.is_empty() and unpaid.height > 2_000, wrong


def test_what_is_planted_is_listed(book):
    """Loans of fraud are in no truth but by name; each of their payments follows the schedule, or is listed."""
    listed = pl.read_parquet(book / "truth/planted.parquet")
    assert set(listed["kind"]) == switches(["all"])
    extra = pl.read_parquet(book / "truth/loans.parquet").drop_nulls("planted")
    fraud = listed.filter(pl.col("kind").is_in(FRAUD))
    assert fraud.select("loan_id", "kind").unique().sort("loan_id").rows() == (
        extra.select("loan_id", pl.col("planted").alias("kind")).sort("loan_id").rows()
    )
    months = pl.read_parquet(book / "truth/loan_months/*.parquet")
    assert not set(months["loan_id"]) & set(extra["loan_id"])
    payments = table(book, "payments")
    theirs = payments.filter(pl.col("loan_no").is_in(extra["loan_id"].implode()))
    regular = theirs.filter(~pl.col("payment_no").is_in(fraud["payment_id"].drop_nulls().implode()))
    due = table(book, "schedules").select("loan_no", pl.col("due_on").alias("paid_on"), "amount")
    assert regular.join(due, on=["loan_no", "paid_on", "amount"], how="anti").is_empty() and regular.height > 100
    assert set(fraud["payment_id"].drop_nulls()) <= set(theirs["payment_no"])
    late = payments.filter(pl.col("booked_on") != pl.col("paid_on"))
    delayed = listed.filter(pl.col("kind").is_in(["late_payments", "late_reversals"]))
    assert set(late["payment_no"]) <= set(delayed["payment_id"]) and late.height > 100
    reversals = set(listed.filter(pl.col("kind") == "late_reversals")["payment_id"])
    taken_back = late.filter(pl.col("payment_no").is_in(list(reversals)))
    assert (taken_back["amount"].cast(pl.Float64) < 0).all() and taken_back.height > 10


def test_planted_fraud_does_what_its_rule_is_about(book):
    listed = pl.read_parquet(book / "truth/planted.parquet")
    payments = table(book, "payments").with_columns(pl.col("paid_on").str.to_date(), cents("amount"))
    loans = table(book, "loans").with_columns(cents("amount"), pl.col("opened_on").str.to_date())
    rows = listed.join(payments, left_on="payment_id", right_on="payment_no").join(
        loans.select("loan_no", pl.col("amount").alias("lent"), "opened_on"), left_on="loan_id", right_on="loan_no"
    )
    cases = lambda kind: rows.filter(pl.col("kind") == kind).partition_by("loan_id")
    span = lambda r: (r["paid_on"].max() - r["paid_on"].min()).days
    for r in cases("A01_structuring"):
        assert (
            r.height >= 3
            and span(r) <= 7
            and set(r["method"]) == {"cash"}
            and r["amount"].is_between(800_000, 999_999).all()
        )
    for r in cases("A02_velocity"):
        assert r.height >= 5 and span(r) == 0 and r["amount"].sum() >= 500_000
    for r in cases("A03_round_amounts"):
        assert (r["amount"] % 10_000 == 0).all() and r.height >= 3
    for r in cases("A04_rapid_movement"):
        assert span(r) <= 2 and -r["amount"].min() >= 0.9 * r["amount"].max()
    for r in cases("A05_dormant_then_active"):
        assert r.sort("paid_on")["paid_on"].diff().max().days >= 180
        assert payments.filter(pl.col("loan_no") == r["loan_id"][0]).height == r.height
    for r in cases("A06_fan_in"):
        assert r["payer_no"].n_unique() >= 8 and span(r) < 7 and r["amount"].min() > 0
    for r in cases("A07_fan_out"):
        out = r.filter(pl.col("amount") < 0)
        assert out["payer_no"].n_unique() >= 8 and span(out) < 7
    for r in cases("A09_early_payoff"):
        assert r["amount"].sum() >= 0.8 * r["lent"][0] and (r["paid_on"] - r["opened_on"]).max().days <= 60
        assert r["payer_no"].null_count() == 0
    for r in cases("A10_many_payers"):
        assert r["payer_no"].n_unique() >= 3 and span(r) <= 90
    one_payer = (
        rows.filter(pl.col("kind") == "A10_one_payer").group_by("payer_no").agg(pl.col("customer_no").n_unique())
    )
    assert (one_payer["customer_no"] >= 4).all()
    for r in cases("A11_overpaid_and_refunded"):
        assert r["amount"].max() >= 1.2 * r["lent"][0] and span(r) <= 30 and r["amount"].min() < 0
    first = listed.filter(pl.col("kind") == "A13_first_payment_default")["loan_id"]
    assert payments.filter(pl.col("loan_no").is_in(first.implode())).is_empty() and len(first) >= 2
    out = listed.filter(pl.col("kind") == "A12_bust_out").join(loans, left_on="loan_id", right_on="loan_no")
    assert set(out.group_by("customer_no").len()["len"]) == {4}
    shared = listed.filter(pl.col("kind") == "A14_shared_identifiers")
    accounts = table(book, "borrowers").group_by("account_no").agg(pl.col("customer_no"))
    sharing = accounts.filter(pl.col("customer_no").list.len() > 1)
    assert set(sharing["customer_no"].explode()) == set(shared["customer_no"])
    assert (sharing["customer_no"].list.len() >= 3).all()


def test_risk_shifts_and_exports_are_what_they_say(book):
    people, attributes = table(book, "borrowers"), table(book, "attributes")
    by_sex = people.join(attributes, on="customer_no").with_columns(pl.col("region").cast(int), pl.col("sex").cast(int))
    assert by_sex.select(pl.corr("region", "sex")).item() > 0.5
    loans, months = table(book, "loans"), pl.read_parquet(book / "truth/loan_months/*.parquet")
    lent = loans.with_columns(is_late=pl.col("opened_on") >= "2018-08-01", is_partner=pl.col("channel") == "partner")
    share = dict(lent.group_by("is_late").agg(pl.col("is_partner").mean()).iter_rows())
    assert share[False] < 0.25 and share[True] > 0.45
    hazard = pl.read_parquet(book / "truth/loans.parquet").join(lent, left_on="loan_id", right_on="loan_no")
    means = dict(
        hazard.drop_nulls("hazard").filter("is_late").group_by("is_partner").agg(pl.col("hazard").mean()).rows()
    )
    assert means[True] - means[False] > 0.6
    defaulted = months.filter(pl.col("state") == "default")["loan_id"].unique()
    owners = loans.filter(pl.col("loan_no").is_in(defaulted.implode()))["customer_no"]
    missing = people.with_columns(bad=pl.col("customer_no").is_in(owners.implode()), no=pl.col("income").is_null())
    share = dict(missing.group_by("bad").agg(pl.col("no").mean()).iter_rows())
    assert share[True] > 0.4 and share[False] < 0.06
    ended = months.filter(pl.col("state") == "closed")["loan_id"]
    assert set(loans.filter(pl.col("status") == "closed")["loan_no"]) == set(ended)


def test_unknown_switches_and_short_books_are_refused(tmp_path):
    with pytest.raises(PlanError, match="unknown: A99; choose from fraud, risk_shifts"):
        switches(["A99"])
    with pytest.raises(PlanError, match="tilts is now called risk_shifts; leaks is now called leakage_traps"):
        switches(["tilts", "leaks"])
    with pytest.raises(PlanError, match="needs 18 months"):
        simulate(Plan(100, 12, seed=1, planted=switches(["fraud"])), tmp_path / "short")
    assert not (tmp_path / "short").exists()


def test_files_are_what_the_contract_says(book):
    contract = load_sources()["simulated"].contract
    files = sorted((book / "landing/simulated").iterdir())
    assert all(str(contract.arrives_on(path.name)) == path.stem.split("-", 1)[1] for path in files)
    assert {contract.layout_of(path.name) for path in files} == set(contract.layouts)
    for layout in contract.layouts:
        mine = [path.read_bytes().split(b"\n", 1) for path in files if contract.layout_of(path.name) == layout]
        assert len({header for header, _ in mine}) == 1, layout.name
        content = mine[0][0] + b"\n" + b"".join(rows for _, rows in mine)
        checked = check_rows(read_as(read_records(content, layout).text, layout), layout)
        assert checked.bad.is_empty() and checked.duplicates.is_empty(), layout.name


def test_what_comes_again_is_planted_only_where_asked_for(tmp_path):
    """A row of another delivery, the same, with another amount, or of a day before its loan."""
    plan = Plan(600, 4, seed=3, opened_within=1, dirt=True)
    clean = replace(plan, dirt=False)
    for name, asked in (("clean", clean), ("without", plan), ("with", replace(plan, redeliver=True))):
        simulate(asked, tmp_path / name)
    faults = pl.read_parquet(tmp_path / "with/truth/dirt.parquet")
    names = {"redelivered": "duplicate_row", "redelivered_otherwise": "conflict", "before_opening": "before_opening"}
    assert not set(pl.read_parquet(tmp_path / "without/truth/dirt.parquet")["fault"]) & set(names)
    for name, expected in names.items():
        rows = faults.filter(pl.col("fault") == name)
        assert rows.height >= 1 and set(rows["expected"]) == {expected}
        for file, line, key in rows.select("file", "line", "key").rows():
            sent = (tmp_path / "with/landing/simulated" / file).read_text().split("\n")[line - 1].split(",")
            assert sent[0] == key
            first = table(tmp_path / "clean", "payments").filter(pl.col("payment_no") == key)
            if name == "before_opening":
                assert first.is_empty() and sent[2] < "2018-01-01"
            else:
                assert (first["amount"].item() == sent[3]) == (name == "redelivered")


def test_a_payment_is_known_when_it_is_booked(book):
    source = load_sources()["simulated"]
    path = book / "landing/simulated/payments-2019-03-20.csv"
    layout = source.contract.layout_of(path.name)
    checked = check_rows(read_as(read_records(path.read_bytes(), layout).text, layout), layout)
    rows = source.adapt(layout.name, checked.good, source.contract)["payments"].sort("line_no")
    assert (rows["known_at"] == dt.date(2019, 3, 20)).all() and rows["event_on"].min() < dt.date(2019, 3, 1)
    assert rows["event_on"].equals(checked.good.sort("line_no")["paid_on"], check_names=False)
