"""The policy file is read strictly, and dbt gets its values."""

import pytest

from dagster_project.home.settings import PROJECT_ROOT
from dagster_project.policy import PolicyError, dbt_vars, load_policy

POLICY = PROJECT_ROOT / "policy/default.yaml"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("salt: creditloom-split-1", "pepper: x", "split"),
        ("val: [60, 69]", "val: [59, 69]", "exactly once"),
        ("R3: 0.001560", "R3: 0.0001", "must rise"),
        ("max_depth: 3", "max_depth: deep", "training.max_depth"),
        ("version: 1", "version: 1\nsurprise: 2", "surprise"),
        ("sources:", "sources: [", "policy"),
    ],
)
def test_broken_policy_is_refused_with_file_and_field(tmp_path, old, new, says):
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY.read_text().replace(old, new, 1))
    with pytest.raises(PolicyError, match=says) as error:
        load_policy(path)
    assert str(path) in str(error.value)


def test_dbt_gets_the_policys_values():
    values = dbt_vars(load_policy(POLICY))
    assert values["feature_lag_days"] == {"taiwan_cards": 15, "ally_auto": 15, "simulated": 1}
    assert values["default_status_min"] == {"taiwan_cards": 3, "ally_auto": None, "simulated": None}
    assert values["deferral_from"] == {"taiwan_cards": None, "ally_auto": "2020-03-01", "simulated": None}
