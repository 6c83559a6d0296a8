"""Tests that `creditloom restate` reports a usage error for a month that cannot be restated."""

import pytest
from typer.testing import CliRunner

from dagster_project.cli import app


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["2026-6-1"], "formats '%Y-%m'"),
        (["2026-06", "--source", "nobody"], "there is no source 'nobody'"),
        (["2026-06"], "no source has reported 2026-06"),
        (["2026-06", "--source", "simulated"], "simulated has not reported 2026-06"),
    ],
)
def test_month_that_cannot_be_restated_is_a_usage_error(arguments, says, tmp_path, monkeypatch):
    monkeypatch.setenv("CREDITLOOM_HOME", str(tmp_path / "home"))
    result = CliRunner().invoke(app, ["restate", *arguments, "--json"])
    assert result.exit_code == 2
    assert says in " ".join(result.output.split())
