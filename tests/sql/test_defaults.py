"""Tests that compare the defaults computed in SQL with a plain calendar that goes through every day.

They also check that no loan is in default before the lender could know it. One run of dbt builds five sources from the
same random book. The source `whole` has all rows. The source `strict` has the same rows but a stricter policy: any
amount that is 60 days past due is a default, and so is any loss through changed terms. Each of the three sources
`cut_...` has only the rows that were known `LAG` days after a cut date.
"""

import datetime as dt
from itertools import pairwise
from pathlib import Path

import duckdb
import pytest
import yaml

from dagster_project.home.settings import PROJECT_ROOT, Settings
from dagster_project.policy import load_policy
from dagster_project.warehouse.runner import run_dbt
from support.oracles.defaults import Defaults, Rules, Spell, known_on
from support.oracles.ledger import LAG, reported
from support.random_books import random_book, with_comebacks, with_events
from support.raw_tables import raw_tables, write_selection

LOANS = 2_000
CUTS = [dt.date(2020, 9, 30), dt.date(2021, 1, 31), dt.date(2021, 6, 30)]
CUT_OF = {f"cut_{cut:%Y%m}": cut for cut in CUTS}
RULES = {
    "whole": Rules(),
    "strict": Rules(days=60, amount=0, share=0, value_lost=0),
    **dict.fromkeys(CUT_OF, Rules()),
}
TRIGGERS = ("past_due", "distressed_restructuring")
LEGAL = {
    "performing": {"performing", "past_due", "default", "written_off", "closed"},
    "past_due": {"performing", "past_due", "default", "written_off", "closed"},
    "default": {"default", "probation", "written_off", "closed"},
    "probation": {"default", "probation", "performing", "past_due", "written_off", "closed"},
    "written_off": {"written_off"},
    "closed": {"closed", "performing", "past_due", "default", "written_off"},
}


def lender(rules: Rules) -> dict[str, object]:
    return {
        "arrears_basis": "ledger",
        "feature_lag_days": LAG,
        "label_horizon_months": 3,
        "observe_from_month": 1,
        "default_dpd_min": rules.days,
        "portfolio_type": "any" if rules.amount else "none",
        "score_anchor": {"score": 600, "odds": 20},
    }


@pytest.fixture(scope="module")
def book():
    return with_events(with_comebacks(random_book(seed=5, loans=LOANS, months=26), seed=7, share=0.5), seed=6)


@pytest.fixture(scope="module")
def home(book, tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("defaults") / "home"
    policy = yaml.safe_load((PROJECT_ROOT / "policy/default.yaml").read_text())
    policy["sources"] = {name: lender(rules) for name, rules in RULES.items()}
    policy["defaults"]["thresholds"] = {
        "any": {"materiality_amount": 60, "materiality_share": 0.08, "value_lost_max": 0.01},
        "none": {"materiality_amount": 0, "materiality_share": 0, "value_lost_max": 0},
    }
    home.mkdir()
    (home / "policy.yaml").write_text(yaml.safe_dump(policy, sort_keys=False))
    settings = Settings(home=home, policy=home / "policy.yaml")
    tables = raw_tables(book, "whole")
    for name in ("whole", "strict"):
        write_selection(tables, settings.selection, name)
    for source, cut in CUT_OF.items():
        last = cut + dt.timedelta(days=LAG)
        until_last = {name: table.filter(table["known_at"] <= last) for name, table in tables.items()}
        write_selection(until_last, settings.selection, source)
    build = ["build", "--select", "+fct_loan_months", "--indirect-selection", "cautious"]
    line = [*build, "--exclude-resource-type", "unit_test"]
    done = run_dbt(settings, load_policy(settings.policy), line, quiet=True, loans_per_batch=300)
    assert done.returncode == 0, done.stdout[-3000:]
    return home


def rows(home: Path, query: str) -> list[tuple]:
    with duckdb.connect(str(home / "warehouse/creditloom.duckdb"), read_only=True) as db:
        return db.execute(query).fetchall()


def found(home: Path, source: str) -> dict[str, list[Spell]]:
    spells: dict[str, list[Spell]] = {}
    columns = "loan_id, defaulted_on, trigger, known_on, round(value_lost, 4), ended_on, ended_by"
    for loan_id, *spell in rows(
        home, f"select {columns} from marts.fct_defaults where source = '{source}' order by loan_id, default_no"
    ):
        spells.setdefault(loan_id, []).append(Spell(*spell))
    return spells


@pytest.mark.parametrize("source", RULES)
def test_defaults_are_what_a_calendar_says(home, book, source):
    """SQL and the calendar find the same defaults of every loan, and the same standing at each month-end.

    A default is compared by its first day, its trigger, the day on which it became known, its loss of value, and its
    end.
    """
    spells = found(home, source)
    standing = {
        (loan_id, month): state
        for loan_id, month, state in rows(
            home, f"select loan_id, month_on, standing from marts.fct_loan_months where source = '{source}'"
        )
    }
    last = CUT_OF.get(source, reported(book))
    known_by = last + dt.timedelta(days=LAG) if source in CUT_OF else dt.date.max
    assert max(month for _, month in standing) == last
    seen = dict.fromkeys(("cured", "settled", "written_off", None, *TRIGGERS), 0)
    for loan in book:
        if loan.known_at > known_by:
            continue
        expected = Defaults(known_on(loan, known_by), last, RULES[source])
        assert spells.pop(loan.loan_id, []) == expected.spells, loan
        for spell in expected.spells:
            seen[spell.ended_by] += 1
            if spell.trigger in TRIGGERS:
                seen[spell.trigger] += 1
        for month, state in expected.standing.items():
            if (loan.loan_id, month) in standing and state != "written_off":
                row = standing.pop((loan.loan_id, month))
                assert row == state, (loan, month)
    assert not spells
    assert min(seen.values()) > (0 if source in CUT_OF else 10), seen


def test_nobody_is_in_default_before_it_is_known(home, book):
    """A book cut off at a date shows a default if the whole book shows that it had begun and was known by that date.

    It does not show a default that began later. A default that had begun but was not known yet may be missing. More
    than three such defaults must be missing, because otherwise the test would show nothing.
    """
    late = 0
    whole = found(home, "whole")
    for source, cut in CUT_OF.items():
        then = found(home, source)
        for loan_id, spells in whole.items():
            for spell in spells:
                same = [s for s in then.get(loan_id, []) if s.defaulted_on == spell.defaulted_on]
                if spell.defaulted_on > cut:
                    assert not same
                elif spell.known_at <= cut:
                    assert [s.trigger for s in same] == [spell.trigger], (loan_id, spell)
                else:
                    late += not same
    assert late > 3, "nothing was known late: the test shows nothing"


def test_rows_known_by_then_are_enough_for_the_default(home, book):
    """The calendar finds the same first day of a default if it uses only the rows known by the default's `known_on`."""
    loans = {loan.loan_id: loan for loan in book}
    late = 0
    for loan_id, spells in found(home, "whole").items():
        for spell in spells:
            loan = loans[loan_id]
            again = Defaults(known_on(loan, spell.known_at), spell.defaulted_on, RULES["whole"]).spells
            assert again[-1].defaulted_on == spell.defaulted_on, (loan, spell)
            late += spell.known_at > spell.defaulted_on
    assert late > 50


@pytest.mark.parametrize("source", ["whole", "strict"])
def test_only_legal_moves_happen(home, source):
    """From one month-end to the next, a loan's standing changes only in the ways that `LEGAL` lists.

    There is one exception: a loan may leave default without probation if a default was settled in that month.
    """
    query = (
        "select loan_id, month_on, standing from marts.fct_loan_months"
        f" where source = '{source}' order by loan_id, month_on"
    )
    settled = {
        (loan_id, spell.ended_on.replace(day=1))
        for loan_id, spells in found(home, source).items()
        for spell in spells
        if spell.ended_by == "settled"
    }
    moves: dict[tuple[str, str], int] = {}
    for (loan, _, before), (same, month, after) in pairwise(rows(home, query)):
        if loan == same:
            moves[before, after] = moves.get((before, after), 0) + 1
            legal = after in LEGAL[before] or (before == "default" and (loan, month.replace(day=1)) in settled)
            assert legal, (loan, month, before, after)
    for move in (("default", "probation"), ("probation", "performing"), ("probation", "default")):
        assert moves[move] > 5, move
