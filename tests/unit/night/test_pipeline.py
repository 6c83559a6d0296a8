"""Tests of the pipeline of a home: the clock of a replay, and a policy whose sources do not match the contracts."""

import datetime as dt

import pytest

from dagster_project.home.settings import PROJECT_ROOT, Settings
from dagster_project.night.pipeline import load_pipeline
from dagster_project.policy import PolicyError
from support.homes import pipeline_in


def test_replayed_night_takes_the_day_for_its_clock(tmp_path):
    assert pipeline_in(tmp_path, on=dt.date(2017, 6, 15)).now() == dt.datetime(2017, 6, 15, 2)


POLICY = PROJECT_ROOT / "policy/default.yaml"


def test_policy_and_contracts_name_the_same_sources(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY.read_text().replace("  taiwan_cards:", "  taiwan_card:"))
    with pytest.raises(PolicyError, match=r"policy.yaml:\d+: sources.taiwan_card: .*no contract for taiwan_card;"):
        load_pipeline(Settings(home=tmp_path, policy=path))
