"""A portfolio policy that cannot be meant is refused."""

import pytest
import yaml
from pydantic import ValidationError

from dagster_project.portfolio.policy import PortfolioPolicy
from support.portfolio import POLICY_FILE


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        (("ifrs9", "scenarios", "up", "weight"), 0.3, "add up to 1"),
        (("risk_classes", "doubtful"), 80, "must rise"),
        (("limits", "grade_hhi", "red"), 0.1, "below amber"),
        (("ifrs9", "discounting"), "never", "mid_period"),
        (("surprise",), 1, "surprise"),
    ],
)
def test_policy_that_cannot_be_meant_is_refused(place, value, says):
    values = yaml.safe_load(POLICY_FILE.read_text())["portfolio"]
    *path, last = place
    inner = values
    for name in path:
        inner = inner[name]
    inner[last] = value
    with pytest.raises(ValidationError, match=says):
        PortfolioPolicy(**values)
