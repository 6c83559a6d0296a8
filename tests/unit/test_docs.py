"""Tests that README and the pages in `docs` match the repository: pictures, links, file names, rooms and commands."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dagster_project.cli import app
from dagster_project.home.settings import PROJECT_ROOT

README = (PROJECT_ROOT / "README.md").read_text()
DOCS = sorted((PROJECT_ROOT / "docs").glob("*.md"))
PAGES = [PROJECT_ROOT / "README.md", PROJECT_ROOT / "CONTRIBUTING.md", *DOCS]
PLOTS = "docs/simulated_book_plots.py"
CHART = "docs/images/performance.png"  # made by `make bench`
FOLDERS = ("benchmarks", "dagster_project", "dbt", "docs", "expectations", "ml", "policy", "tests", "tools")
FILES = [p for p in PROJECT_ROOT.iterdir() if p.is_file()]
FILES += [p for folder in FOLDERS for p in (PROJECT_ROOT / folder).rglob("*") if p.is_file()]


def test_pictures_are_the_ones_that_the_scripts_make():
    script = (PROJECT_ROOT / "tools/screenshots.py").read_text()
    made = {f"docs/images/{name}.png" for name in re.findall(r'"([a-z-]+)": Picture\(', script)}
    shown = set(re.findall(r"\]\((docs/images/[^)]+)\)", README))
    stored = {str(p.relative_to(PROJECT_ROOT)) for p in (PROJECT_ROOT / "docs/images").iterdir()}
    assert made == shown
    drawn = {f"docs/{path}" for path in re.findall(r"images/[a-z-]+\.png", (PROJECT_ROOT / PLOTS).read_text())}
    expected = {f"docs/{path}" for page in DOCS for path in re.findall(r"\]\((images/[^)]+)\)", page.read_text())}
    assert drawn == expected - {CHART}
    assert made | drawn == stored - {CHART}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path):
    for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not link.startswith("http"):
            assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", [PROJECT_ROOT / "README.md", *DOCS], ids=lambda p: p.name)
def test_files_and_folders_that_a_page_names_exist(page: Path):
    """Each file or folder that a page names in backticks exists.

    A page may name a file by the last part of its path. Other names in backticks, such as asset keys and paths in a
    data folder, are not checked.
    """
    paths = {f"/{file.relative_to(PROJECT_ROOT).as_posix()}" for file in FILES}
    for name in re.findall(r"`([\w.-]+(?:/[\w.-]+)*)/?`", page.read_text()):
        if re.search(r"\w\.(py|sql|ya?ml|md|toml)$", name):
            assert any(path.endswith(f"/{name}") for path in paths), name
        elif name.split("/")[0] in FOLDERS:
            assert (PROJECT_ROOT / name).exists(), name


def test_readme_lists_every_room():
    table = README.partition("| room |")[2].partition("\n\n")[0]
    rooms = {package.parent.name for package in (PROJECT_ROOT / "dagster_project").glob("*/__init__.py")}
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == rooms


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
