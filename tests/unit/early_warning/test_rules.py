"""The policy of early warnings is checked, and has every indicator."""

from pathlib import Path

import pytest

from dagster_project.early_warning.rules import MEASURES
from dagster_project.home.settings import PROJECT_ROOT
from dagster_project.policy import PolicyError, load_policy
from support.warning_figures import POLICY


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("red: 1.4", "red: 1.1"), "early_warning.indicators.share_30_plus: Value error, red (1.1) must be above"),
        (("    mob3_30_plus:", "    mob4_30_plus:"), "no indicator is called mob4_30_plus; there are share_30_plus"),
        (("    red: 0.001", "    red: 0.02"), "red (0.02) must not be above amber (0.01)"),
        (("owner: team:fraud", "owner: fraud"), "early_warning.indicators.first_payment_default.owner"),
        (("      base_months: 12", "      base_months: 2"), "rule deviations needs base_months of 3 or more"),
        (("channels: [log, webhook]", "channels: [log, pigeon]"), "early_warning.channels.1"),
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
