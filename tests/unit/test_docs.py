"""README and docs agree with the tree: pictures, links, commands."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dagster_project.cli import app
from dagster_project.settings import PROJECT_ROOT

README = (PROJECT_ROOT / "README.md").read_text()
NAMES = ("README.md", "CONTRIBUTING.md", "docs/your-own-files.md", "docs/metrics.md", "docs/performance.md")
PAGES = [PROJECT_ROOT / name for name in NAMES]
CHART = "docs/images/performance.png"  # made by `make bench`


def test_pictures_of_the_readme_are_the_ones_that_the_script_makes():
    script = (PROJECT_ROOT / "tests/screenshots.py").read_text()
    made = {f"docs/images/{name}.png" for name in re.findall(r'"([a-z-]+)": Picture\(', script)}
    shown = set(re.findall(r"\]\((docs/images/[^)]+)\)", README))
    stored = {str(p.relative_to(PROJECT_ROOT)) for p in (PROJECT_ROOT / "docs/images").iterdir()}
    assert made == shown == stored - {CHART}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path):
    for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not link.startswith("http"):
            assert (page.parent / link).exists(), link


def test_commands_of_the_readme_exist():
    named = set(re.findall(r"`creditloom ([a-z]+)", README)) - {"up"}
    assert {"night", "backfill", "land", "status"} <= named
    for command in named:
        help_text = CliRunner().invoke(app, [command, "--help"]).output
        assert "Usage:" in help_text, command
    options = set(re.findall(r"`creditloom night (--[a-z-]+)", README))
    night_help = CliRunner().invoke(app, ["night", "--help"], terminal_width=200).output
    assert options, "the README shows how a night is replayed"
    assert all(option in night_help for option in options)
