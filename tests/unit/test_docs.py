"""README and docs agree with the tree: pictures, links, commands."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dagster_project.cli import app
from dagster_project.home.settings import PROJECT_ROOT

README = (PROJECT_ROOT / "README.md").read_text()
DOCS = (
    "docs/early-warnings.md",
    "docs/your-own-files.md",
    "docs/deliveries.md",
    "docs/metrics.md",
    "docs/policy.md",
    "docs/restatements.md",
    "docs/simulated-book.md",
    "docs/performance.md",
    "docs/data-protection.md",
    "docs/promises.md",
)
PLOTS = "docs/simulated_book_plots.py"
PAGES = [PROJECT_ROOT / name for name in ("README.md", "CONTRIBUTING.md", *DOCS)]
CHART = "docs/images/performance.png"  # made by `make bench`


def test_pictures_are_the_ones_that_the_scripts_make():
    script = (PROJECT_ROOT / "tools/screenshots.py").read_text()
    made = {f"docs/images/{name}.png" for name in re.findall(r'"([a-z-]+)": Picture\(', script)}
    shown = set(re.findall(r"\]\((docs/images/[^)]+)\)", README))
    stored = {str(p.relative_to(PROJECT_ROOT)) for p in (PROJECT_ROOT / "docs/images").iterdir()}
    assert made == shown
    drawn = {f"docs/{path}" for path in re.findall(r"images/[a-z-]+\.png", (PROJECT_ROOT / PLOTS).read_text())}
    expected = {
        f"docs/{path}"
        for page in DOCS
        for path in re.findall(r"\]\((images/[^)]+)\)", (PROJECT_ROOT / page).read_text())
    }
    assert drawn == expected - {CHART}
    assert made | drawn == stored - {CHART}


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
