"""Run the command line with `python -m dagster_project.cli`."""

from dagster_project.cli import app

app()
